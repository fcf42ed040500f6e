//! Machine and replica together, against a hub in memory: killed after any number of steps, nothing is lost.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;

use semantics::ids::NodeId;
use semantics::outcome::Transient;
use semantics::reason::Reason;
use semantics::session::{ClientMessage, Results, ServerMessage};
use serde_json::json;
use spoke::engine::Engine;
use spoke::replica::Replica;
use spoke::sync::{Action, Config, Event, Timer};
use support::*;

/// Does what the daemon does, over a hub that answers at once, until nothing happens or `steps` are used up.
struct World {
    hub: Hub,
    store: Arc<TestStore>,
    node: NodeId,
    now_ms: u64,
    opened: u64,
}

impl World {
    async fn new() -> Self {
        Self {
            hub: Hub::default(),
            store: Arc::new(TestStore::new().await),
            node: NODE,
            now_ms: NOW,
            opened: 0,
        }
    }

    async fn start(&mut self) -> Engine {
        self.opened += 1;
        let replica = open(&self.store, "here", self.opened * 100_000).await;
        Engine::new(Arc::new(replica), Config::default())
    }

    /// Steps used. Fewer than asked for: nothing was left to do.
    async fn run(&mut self, engine: &mut Engine, event: Event, steps: usize) -> usize {
        let mut events = VecDeque::from([event]);
        let mut actions: VecDeque<Action> = VecDeque::new();
        let mut used = 0;
        while used < steps {
            let Some(action) = actions.pop_front() else {
                let Some(event) = events.pop_front() else { break };
                actions = engine.on(event, self.now_ms).into();
                continue;
            };
            used += 1;
            match action {
                Action::Probe { .. } => {}
                Action::Connect { .. } => events.push_back(Event::Connected),
                Action::Send(message) => self.answer(message, &mut events),
                Action::Close => events.clear(),
                Action::Reconcile { request, .. } => {
                    events.push_back(Event::ReconcileAnswer(Ok(self.hub.reconcile(self.node, &request))));
                }
                Action::SetTimer { timer: Timer::Reconnect | Timer::Ack, after_ms } => {
                    self.now_ms += after_ms;
                    let timer =
                        if after_ms == Config::default().ack_ms { Timer::Ack } else { Timer::Reconnect };
                    events.push_back(Event::TimerFired(timer));
                }
                Action::SetTimer { .. } => {}
                Action::Step(step) => {
                    if let Some(event) = engine.perform(step, self.now_ms).await.unwrap() {
                        // Before anything else that happened since.
                        let more = engine.on(event, self.now_ms);
                        actions.extend(more);
                    }
                }
                Action::Stop(refusal) => panic!("stopped: {refusal}"),
            }
        }
        used
    }

    fn answer(&mut self, message: ClientMessage, events: &mut VecDeque<Event>) {
        let mut say = |message| events.push_back(Event::Received(message));
        match message {
            ClientMessage::Hello(hello) => match self.hub.hello(self.node, &hello) {
                Ok(welcome) => {
                    say(ServerMessage::Welcome(welcome));
                    say(ServerMessage::Changes(self.hub.cut(hello.cursor)));
                }
                Err(refusal) => say(ServerMessage::Goodbye(refusal)),
            },
            ClientMessage::Push(push) => {
                let before = self.hub.cursor();
                say(ServerMessage::Results(self.hub.push(&push)));
                say(ServerMessage::Changes(self.hub.cut(Some(before))));
            }
            ClientMessage::Credit { .. } | ClientMessage::Ack { .. } => {}
            ClientMessage::Remnants(part) => say(ServerMessage::RemnantsTaken { page: part.page }),
            ClientMessage::Ping { nonce, .. } => {
                say(ServerMessage::Pong { nonce, hub_time_ms: self.hub.now_ms, backup_watermark: None });
            }
        }
    }
}

async fn write(replica: &Replica, round: u64) {
    replica.write(put("entity", "e", json!({"round": round})), NOW + round).await.unwrap();
    let fields = object(json!({"own": round}));
    replica.patch(key("entity", "e"), fields, vec![], NOW + round).await.unwrap();
    let group =
        vec![put("note", &format!("g{round}"), json!({})), put("note", "shared", json!({"r": round}))];
    replica.write_group(group, NOW + round).await.unwrap();
}

/// What the machine waits for before it sends again what the hub lets wait: `told_ms` is what the hub says of it.
async fn waits_when_told(told_ms: u64) -> Vec<u64> {
    let mut world = World::new().await;
    let mut engine = world.start().await;
    world.run(&mut engine, Event::Start, 1000).await;
    engine.replica().write(put("note", "a", json!({})), NOW).await.unwrap();
    let mut actions = VecDeque::from(engine.on(Event::OutboxChanged, NOW));
    let mut waits = Vec::new();
    while waits.len() < 10 {
        match actions.pop_front().unwrap() {
            Action::Step(step) => {
                let event = engine.perform(step, NOW).await.unwrap();
                actions.extend(event.map(|event| engine.on(event, NOW)).unwrap_or_default());
            }
            Action::Send(ClientMessage::Push(push)) => {
                let (reason, detail) = (Reason::Overloaded, "the cause is missing".to_owned());
                let waits = Some(Transient { n: 1, reason, detail, retry_after_ms: told_ms });
                let results = Results { writer: push.writer, outcomes: Vec::new(), waits };
                actions.extend(engine.on(Event::Received(ServerMessage::Results(results)), NOW));
            }
            Action::SetTimer { timer: Timer::Push, after_ms } => {
                waits.push(after_ms);
                actions.extend(engine.on(Event::TimerFired(Timer::Push), NOW));
            }
            _ => {}
        }
    }
    waits
}

#[tokio::test]
async fn a_stream_that_waits_is_sent_again_ever_less_often_whenever_the_hub_says() {
    let config = Config::default();
    let waits = waits_when_told(500).await;
    assert_eq!(waits[..3], [500, 1_000, 2_000], "at first when the hub says");
    assert_eq!(waits[9], config.backoff_max_ms, "{waits:?}");
    let waits = waits_when_told(0).await;
    assert_eq!(waits[..3], [200, 400, 800]);
    assert_eq!(waits[9], config.backoff_max_ms, "{waits:?}");
    let longer_ms = 2 * config.backoff_max_ms;
    assert_eq!(waits_when_told(longer_ms).await, [longer_ms; 10], "never before the hub says");
}

#[tokio::test]
async fn restart_between_any_two_actions_loses_nothing() {
    for steps in 0.. {
        let mut world = World::new().await;
        let mut engine = world.start().await;
        write(engine.replica(), 1).await;
        let used = world.run(&mut engine, Event::Start, steps).await;
        drop(engine);
        let mut engine = world.start().await;
        let shown = body(engine.replica(), "entity", "e").await;
        assert_eq!(shown, Some(json!({"round": 1, "own": 1})), "after {steps} steps");
        write(engine.replica(), 2).await;
        world.run(&mut engine, Event::Start, 1000).await;
        let status = engine.replica().status().await.unwrap();
        assert_eq!(status.outbox.entries, 0, "after {steps} steps");
        assert!(engine.status().is_drained && engine.status().is_caught_up, "{:?}", engine.status());
        // Four writes a round, each with one effect, none against another.
        assert_eq!(world.hub.revision.0, 8, "after {steps} steps");
        assert!(world.hub.outcomes.iter().all(|(_, told)| told.outcome.name() == "applied"));
        assert_eq!(engine.replica().confirmed_digest().await.unwrap().1, world.hub.digest());
        assert_eq!(body(engine.replica(), "note", "shared").await, Some(json!({"r": 2})));
        if used < steps {
            assert!(steps > 10, "the machine did hardly anything");
            return;
        }
    }
}

#[tokio::test]
async fn a_restored_replica_finds_its_way_back_by_itself() {
    let mut world = World::new().await;
    let mut engine = world.start().await;
    write(engine.replica(), 1).await;
    let backup = world.store.snapshot();
    world.run(&mut engine, Event::Start, 1000).await;
    write(engine.replica(), 2).await;
    world.run(&mut engine, Event::OutboxChanged, 1000).await;
    assert_eq!(world.hub.revision.0, 8);
    for steps in 0..40 {
        world.store.restore(&backup).await;
        let mut engine = world.start().await;
        world.run(&mut engine, Event::Start, steps).await;
        let mut engine = world.start().await;
        world.run(&mut engine, Event::Start, 1000).await;
        assert_eq!(engine.replica().status().await.unwrap().outbox.entries, 0);
        assert_eq!(world.hub.revision.0, 8, "what the backup held took effect once");
        assert_eq!(engine.replica().confirmed_digest().await.unwrap().1, world.hub.digest());
    }
}
