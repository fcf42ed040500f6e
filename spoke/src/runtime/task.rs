//! The task that owns the engine.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use semantics::reason::{Reason, Refusal};
use semantics::session::Reconciliation;

use super::tally::{Tally, Turn};
use super::{Command, Heard, Link, Mailbox, Progress, Transport};
use crate::ambient::Clock;
use crate::engine::Engine;
use crate::sync::{Action, Event, Phase, Status, Timer};

/// Runs the engine until the mailbox's stop is asked for. What is durable stays so whenever it ends.
pub async fn run(engine: Engine, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>, mailbox: Mailbox) {
    let mut task = Task {
        engine,
        transport,
        clock,
        timers: BTreeMap::new(),
        link: None,
        opening: None,
        reconciling: None,
        probing: FuturesUnordered::new(),
        stopped: None,
        turns: 0,
        tally: Tally::default(),
    };
    task.serve(mailbox).await;
}

struct Task {
    engine: Engine,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    /// When each running timer fires, by [`Clock::elapsed_ms`].
    timers: BTreeMap<Timer, u64>,
    link: Option<Link>,
    opening: Option<BoxFuture<'static, Result<Link, Refusal>>>,
    reconciling: Option<BoxFuture<'static, Result<Reconciliation, Refusal>>>,
    probing: FuturesUnordered<BoxFuture<'static, (usize, Option<u64>)>>,
    stopped: Option<Refusal>,
    turns: u64,
    tally: Tally,
}

impl Task {
    async fn serve(&mut self, mut mailbox: Mailbox) {
        loop {
            let Some(event) = self.next(&mut mailbox).await else { return self.turn(Event::Rest).await };
            if event == Event::Start {
                self.stopped = None;
            }
            if event == Event::Rest {
                self.timers.clear();
            }
            let began_ms = self.clock.elapsed_ms();
            let before = self.engine.status();
            self.turn(event).await;
            say_what_is_in_the_way(&before, &self.engine.status());
            if self.engine.status().phase == Phase::Live {
                self.stopped = None;
            }
            let turn = Turn { began_ms, ended_ms: self.clock.elapsed_ms(), now_ms: self.clock.now_ms() };
            self.tally.note(&self.engine.status(), self.transport.traffic(), turn);
            mailbox.progress.send_replace(Progress {
                status: self.engine.status(),
                stopped: self.stopped.clone(),
                turns: self.turns,
                statistics: self.tally.statistics(),
            });
        }
    }

    /// What happens next; `None` when it is time to end.
    async fn next(&mut self, mailbox: &mut Mailbox) -> Option<Event> {
        let due = self.timers.iter().map(|(timer, at)| (*at, *timer)).min();
        let wait_ms = due.map(|(at, _)| at.saturating_sub(self.clock.elapsed_ms()));
        tokio::select! {
            biased;
            () = mailbox.stop.cancelled() => None,
            command = mailbox.commands.recv() => command.map(|command| match command {
                Command::Start => Event::Start,
                Command::Withdraw => Event::WithdrawAsked,
                Command::Anew => Event::AnewAsked,
            }),
            () = mailbox.rounds.over() => Some(Event::Rest),
            () = sleep(wait_ms) => due.map(|(_, timer)| {
                self.timers.remove(&timer);
                Event::TimerFired(timer)
            }),
            opened = settle(&mut self.opening) => Some(match opened {
                Ok(link) => {
                    self.link = Some(link);
                    Event::Connected
                }
                Err(refusal) => Event::ConnectFailed(refusal),
            }),
            answer = settle(&mut self.reconciling) => Some(Event::ReconcileAnswer(answer)),
            Some((endpoint, round_trip_us)) = self.probing.next() => Some(Event::Probed { endpoint, round_trip_us }),
            () = mailbox.nudge.notified() => Some(Event::OutboxChanged),
            heard = hear(&mut self.link) => Some(match heard {
                Heard::Message(message) => Event::Received(message),
                Heard::Ended(refusal) => {
                    self.link = None;
                    Event::Disconnected(refusal)
                }
            }),
        }
    }

    /// Feeds an event, and what follows from performing what it asks for.
    async fn turn(&mut self, event: Event) {
        let mut event = Some(event);
        while let Some(next) = event.take() {
            self.turns = self.turns.wrapping_add(1);
            for action in self.engine.drive(next, self.clock.now_ms()).await {
                event = self.act(action).or(event);
            }
        }
    }

    /// Performs an action; gives what happened, where that is known at once.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Connect { endpoint } => {
                let transport = Arc::clone(&self.transport);
                self.link = None;
                self.opening = Some(async move { transport.open(endpoint).await }.boxed());
            }
            Action::Send(message) => {
                let is_sent = self.link.as_ref().is_some_and(|link| link.sender.try_send(message).is_ok());
                if !is_sent {
                    self.link = None;
                    let detail = "the connection takes nothing more";
                    return Some(Event::Disconnected(Some(Refusal::new(Reason::Unreachable, detail))));
                }
            }
            Action::Close => {
                self.link = None;
                self.opening = None;
            }
            Action::Reconcile { endpoint, request } => {
                let transport = Arc::clone(&self.transport);
                let call = async move { transport.reconcile(endpoint, request).await };
                self.reconciling = Some(call.boxed());
            }
            Action::Probe { endpoint } => {
                let transport = Arc::clone(&self.transport);
                self.probing.push(async move { (endpoint, transport.probe(endpoint).await) }.boxed());
            }
            Action::SetTimer { timer, after_ms } => {
                self.timers.insert(timer, self.clock.elapsed_ms().saturating_add(after_ms));
            }
            Action::Stop(refusal) => {
                tracing::warn!(reason = refusal.reason.as_str(), detail = refusal.detail, "sync stopped");
                self.stopped = Some(refusal);
            }
            Action::Step(_) => debug_assert!(false, "the engine performs its steps itself"),
        }
        None
    }
}

/// Logs what is tried in vain: each failure, and why a stream waits when that is new.
fn say_what_is_in_the_way(before: &Status, now: &Status) {
    let has_begun_to_wait = now.phase == Phase::Waiting && before.phase != Phase::Waiting;
    if let Some(refusal) = now.last_refusal.as_ref().filter(|_| has_begun_to_wait) {
        let (failures, in_vain) = (now.failures, now.in_vain);
        let (reason, detail) = (refusal.reason.as_str(), &refusal.detail);
        tracing::warn!(reason, detail, failures, in_vain, "not in session; will try again");
    }
    if let Some(refusal) = now.push_waits.as_ref().filter(|_| now.push_waits != before.push_waits) {
        tracing::warn!(
            reason = refusal.reason.as_str(),
            detail = refusal.detail,
            "the hub lets mutations wait"
        );
    }
}

async fn sleep(wait_ms: Option<u64>) {
    match wait_ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => pending().await,
    }
}

async fn settle<T>(call: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = call else { return pending().await };
    let answer = future.await;
    *call = None;
    answer
}

async fn hear(link: &mut Option<Link>) -> Heard {
    match link {
        Some(link) => link.receiver.recv().await.unwrap_or(Heard::Ended(None)),
        None => pending().await,
    }
}
