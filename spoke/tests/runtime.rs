//! The shell: a spoke over a transport, and a hub in the same process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use semantics::ids::{MutationId, Revision};
use semantics::reason::{Class, Reason, Refusal};
use semantics::schedule::{Mode, Schedule};
use semantics::session::{ClientMessage, Reconcile, Reconciliation, ServerMessage};
use serde_json::json;
use spoke::ambient::{Clock, SystemClock, SystemEntropy};
use spoke::client::{Grade, Parts, Spoke};
use spoke::runtime::{Heard, Link, Transport};
use spoke::sync::Phase;
use support::*;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Longest a test waits, milliseconds.
const WAIT_MS: u64 = 20_000;

/// A hub in this process; the first connections may fail, and each may be cut after some messages.
#[derive(Default)]
struct InProcess {
    hub: Arc<Mutex<Hub>>,
    refusals: Mutex<Vec<Refusal>>,
    cut_after: Option<u32>,
    opened: AtomicU32,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn open(&self, _endpoint: usize) -> Result<Link, Refusal> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let (sender, outgoing) = mpsc::channel(32);
        let (incoming, receiver) = mpsc::channel(32);
        let cut_after = self.cut_after.unwrap_or(u32::MAX);
        tokio::spawn(answer(Arc::clone(&self.hub), outgoing, incoming, cut_after));
        Ok(Link { sender, receiver, guard: CancellationToken::new().drop_guard() })
    }
    async fn reconcile(&self, _endpoint: usize, request: Reconcile) -> Result<Reconciliation, Refusal> {
        Ok(self.hub.lock().unwrap().reconcile(NODE, &request))
    }
    async fn head(&self) -> Result<Revision, Refusal> {
        Ok(self.hub.lock().unwrap().cursor().revision)
    }
}

async fn answer(
    hub: Arc<Mutex<Hub>>,
    mut outgoing: mpsc::Receiver<ClientMessage>,
    incoming: mpsc::Sender<Heard>,
    cut_after: u32,
) {
    let mut heard = 0;
    while let Some(message) = outgoing.recv().await {
        heard += 1;
        if heard > cut_after {
            return;
        }
        let said = reply(&mut hub.lock().unwrap(), message);
        for message in said {
            if incoming.send(Heard::Message(message)).await.is_err() {
                return;
            }
        }
    }
}

fn reply(hub: &mut Hub, message: ClientMessage) -> Vec<ServerMessage> {
    match message {
        ClientMessage::Hello(hello) => match hub.hello(NODE, &hello) {
            Ok(welcome) => {
                vec![ServerMessage::Welcome(welcome), ServerMessage::Changes(hub.cut(hello.cursor))]
            }
            Err(refusal) => vec![ServerMessage::Goodbye(refusal)],
        },
        ClientMessage::Push(push) => {
            let before = hub.cursor();
            vec![ServerMessage::Results(hub.push(&push)), ServerMessage::Changes(hub.cut(Some(before)))]
        }
        ClientMessage::Credit { .. } | ClientMessage::Ack { .. } => Vec::new(),
        ClientMessage::Remnants(part) => vec![ServerMessage::RemnantsTaken { page: part.page }],
        ClientMessage::Ping { nonce, .. } => {
            vec![ServerMessage::Pong { nonce, hub_time_ms: hub.now_ms, backup_watermark: None }]
        }
    }
}

async fn spoke(transport: Arc<InProcess>) -> Spoke {
    let (_, replica) = fresh().await;
    Spoke::over(Parts {
        replica: Arc::new(replica),
        transport,
        endpoints: 1,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy),
    })
}

async fn write(spoke: &Spoke, id: &str) {
    spoke.put(key("note", id), object(json!({"text": id}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_offline_is_confirmed_once_there_is_a_hub() {
    let spoke = spoke(Arc::new(InProcess::default())).await;
    write(&spoke, "a").await;
    assert!(spoke.get(&key("note", "a")).await.unwrap().unwrap().is_pending);
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    assert!(!spoke.get(&key("note", "a")).await.unwrap().unwrap().is_pending);
    assert_eq!(spoke.status().await.unwrap().outbox.entries, 0);
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_made_while_in_session_are_sent_without_being_asked() {
    let transport = Arc::new(InProcess::default());
    let spoke = spoke(Arc::clone(&transport)).await;
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    let mut progress = spoke.progress();
    write(&spoke, "late").await;
    while spoke.get(&key("note", "late")).await.unwrap().unwrap().is_pending {
        progress.changed().await.unwrap();
    }
    assert_eq!(transport.opened.load(Ordering::Relaxed), 1, "one session for all of it");
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_again_and_again_loses_nothing() {
    let transport = Arc::new(InProcess { cut_after: Some(3), ..InProcess::default() });
    let spoke = spoke(Arc::clone(&transport)).await;
    for id in ["a", "b", "c", "d"] {
        write(&spoke, id).await;
        spoke.wait_until_synced(WAIT_MS).await.unwrap();
    }
    let (_, digest) = spoke.digest().await.unwrap();
    assert_eq!(digest, transport.hub.lock().unwrap().digest());
    assert_eq!(spoke.status().await.unwrap().outbox.entries, 0);
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_at_once_when_the_node_may_not_sync() {
    let refusals = Mutex::new(vec![Refusal::new(Reason::NodeRevoked, "revoked")]);
    let spoke = spoke(Arc::new(InProcess { refusals, ..InProcess::default() })).await;
    let refusal = spoke.wait_until_synced(WAIT_MS).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NodeRevoked);
    // Reading and writing go on.
    write(&spoke, "still").await;
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_outlasts_a_hub_that_is_not_there_for_a_moment() {
    let gone = || Refusal::new(Reason::Unreachable, "nobody answers");
    let refusals = Mutex::new(vec![gone(), gone()]);
    let spoke = spoke(Arc::new(InProcess { refusals, ..InProcess::default() })).await;
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    spoke.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_tells_the_revision_of_what_is_confirmed_and_refuses_what_nobody_knows() {
    let transport = Arc::new(InProcess::default());
    let spoke = spoke(Arc::clone(&transport)).await;
    let id = spoke.put(key("note", "a"), object(json!({"n": 1}))).await.unwrap().unwrap();
    let waited = spoke.wait_until(&[id], Grade::Durable, WAIT_MS).await.unwrap();
    let revision = waited[0].revision.expect("a revision");
    assert!(revision > Revision::ZERO && waited[0].refusal.is_none());
    // It has left the outbox by now, and its wait says the same.
    spoke.wait_until_synced(WAIT_MS).await.unwrap();
    assert_eq!(spoke.status().await.unwrap().outbox.entries, 0);
    for grade in [Grade::Durable, Grade::Queued] {
        let waited = spoke.wait_until(&[id], grade, WAIT_MS).await.unwrap();
        assert_eq!((waited[0].mutation, waited[0].revision), (id, Some(revision)));
    }
    let never = MutationId([9; 16]);
    for grade in [Grade::Durable, Grade::Queued] {
        let refusal = spoke.wait_until(&[id, never], grade, WAIT_MS).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::NotFound);
        assert!(refusal.detail.contains(&never.to_string()), "{refusal}");
    }
    spoke.close().await;
}

/// A clock that runs so fast that every wait before a further try is over at once.
#[derive(Debug, Default)]
struct Racing(AtomicU64);

impl Clock for Racing {
    fn now_ms(&self) -> u64 {
        NOW
    }
    fn elapsed_ms(&self) -> u64 {
        self.0.fetch_add(3_600_000, Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetching_anew_ends_in_time_while_no_hub_can_be_reached() {
    let gone = || Refusal::new(Reason::Unreachable, "nobody answers");
    let refusals = Mutex::new(std::iter::repeat_with(gone).take(1_000_000).collect());
    let (_, replica) = fresh().await;
    let spoke = Spoke::over(Parts {
        replica: Arc::new(replica),
        transport: Arc::new(InProcess { refusals, ..InProcess::default() }),
        endpoints: 1,
        clock: Arc::new(Racing::default()),
        entropy: Arc::new(SystemEntropy),
    });
    let ended = tokio::time::timeout(Duration::from_millis(WAIT_MS), spoke.fetch_anew(100)).await;
    let refusal = ended.expect("tries are no movement").unwrap_err();
    assert_eq!(refusal.reason.class(), Class::Network, "{refusal}");
    spoke.close().await;
}

/// A clock that stands still until the test turns it.
#[derive(Debug)]
struct Turned {
    now_ms: watch::Sender<u64>,
    /// Until when somebody sleeps.
    waking_ms: watch::Sender<u64>,
}

impl Turned {
    fn new() -> Self {
        Self { now_ms: watch::channel(0).0, waking_ms: watch::channel(0).0 }
    }

    /// Waits until the schedule sleeps until a time, and no longer.
    async fn sleeps_until_ms(&self, ms: u64) {
        let mut waking = self.waking_ms.subscribe();
        let asleep = waking.wait_for(|waking| *waking == ms);
        let told = format!("the schedule never slept until {ms}, but until {}", *self.waking_ms.borrow());
        tokio::time::timeout(Duration::from_millis(WAIT_MS), asleep).await.expect(&told).unwrap();
    }

    fn turn_to_ms(&self, ms: u64) {
        self.now_ms.send_replace(ms);
    }
}

impl Clock for Turned {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.elapsed_ms()
    }
    fn elapsed_ms(&self) -> u64 {
        *self.now_ms.borrow()
    }
    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        let mut now = self.now_ms.subscribe();
        let until_ms = self.elapsed_ms() + ms;
        self.waking_ms.send_replace(until_ms);
        Box::pin(async move {
            now.wait_for(|now_ms| *now_ms >= until_ms).await.unwrap();
        })
    }
}

/// A spoke that syncs by a schedule.
struct Scheduled {
    spoke: Arc<Spoke>,
    transport: Arc<InProcess>,
    clock: Arc<Turned>,
    keeping: tokio::task::JoinHandle<Result<(), Refusal>>,
}

impl Scheduled {
    async fn begin(mode: Mode) -> Self {
        let transport = Arc::new(InProcess::default());
        let clock = Arc::new(Turned::new());
        let (_, replica) = fresh().await;
        let spoke = Arc::new(Spoke::over(Parts {
            replica: Arc::new(replica),
            transport: Arc::<InProcess>::clone(&transport),
            endpoints: 1,
            clock: Arc::<Turned>::clone(&clock),
            entropy: Arc::new(SystemEntropy),
        }));
        let keeper = Arc::clone(&spoke);
        let schedule = Schedule { mode, ..Schedule::default() };
        let keeping = tokio::spawn(async move { keeper.sync_by(schedule).await });
        Self { spoke, transport, clock, keeping }
    }

    /// Waits for so many sessions, and for the last of them to be closed again.
    async fn rested(&self, sessions: u64) {
        let mut progress = self.spoke.progress();
        let rested =
            progress.wait_for(|seen| seen.status.sessions == sessions && seen.status.phase == Phase::Idle);
        tokio::time::timeout(Duration::from_millis(WAIT_MS), rested).await.expect("it rests").unwrap();
    }

    async fn is_confirmed(&self, id: &str) -> bool {
        !self.spoke.get(&key("note", id)).await.unwrap().unwrap().is_pending
    }

    fn opened(&self) -> u32 {
        self.transport.opened.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.keeping.abort();
        self.spoke.shut().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_after_sixty_seconds_with_one_change_and_at_once_with_a_hundred() {
    let scheduled = Scheduled::begin(Mode::Batch).await;
    scheduled.rested(1).await;
    scheduled.clock.sleeps_until_ms(300_000).await;
    write(&scheduled.spoke, "lone").await;
    scheduled.clock.sleeps_until_ms(60_000).await;
    scheduled.clock.turn_to_ms(59_999);
    assert!(!scheduled.is_confirmed("lone").await);
    scheduled.clock.turn_to_ms(60_000);
    scheduled.rested(2).await;
    assert!(scheduled.is_confirmed("lone").await);
    scheduled.clock.sleeps_until_ms(360_000).await;
    for n in 0..99 {
        write(&scheduled.spoke, &format!("many-{n}")).await;
    }
    scheduled.clock.sleeps_until_ms(120_000).await;
    assert_eq!(scheduled.opened(), 2);
    write(&scheduled.spoke, "hundredth").await;
    scheduled.rested(3).await;
    assert!(scheduled.is_confirmed("many-0").await && scheduled.is_confirmed("hundredth").await);
    scheduled.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_periodic_schedule_syncs_every_five_minutes_and_no_session_stands_between() {
    let scheduled = Scheduled::begin(Mode::Periodic).await;
    for round in 1..5 {
        scheduled.rested(round).await;
        write(&scheduled.spoke, &format!("note-{round}")).await;
        let due_ms = round * 300_000;
        scheduled.clock.sleeps_until_ms(due_ms).await;
        assert_eq!(u64::from(scheduled.opened()), round);
        scheduled.clock.turn_to_ms(due_ms);
    }
    scheduled.rested(5).await;
    assert!(scheduled.is_confirmed("note-4").await);
    scheduled.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_demand_nothing_goes_until_somebody_asks_and_the_session_ends_with_it() {
    let scheduled = Scheduled::begin(Mode::OnDemand).await;
    write(&scheduled.spoke, "a").await;
    scheduled.clock.turn_to_ms(86_400_000);
    assert_eq!(scheduled.opened(), 0);
    scheduled.spoke.wait_until_synced(WAIT_MS).await.unwrap();
    assert!(scheduled.is_confirmed("a").await);
    scheduled.rested(1).await;
    let last = scheduled.spoke.progress().borrow().statistics.last.unwrap();
    assert_eq!((last.pushed, last.counts.added), (1, 1));
    scheduled.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_fails_is_tried_again_by_the_schedule() {
    let scheduled = Scheduled::begin(Mode::Batch).await;
    scheduled.rested(1).await;
    let revoked = Refusal::new(Reason::NodeRevoked, "revoked");
    scheduled.transport.refusals.lock().unwrap().push(revoked);
    write(&scheduled.spoke, "a").await;
    scheduled.clock.sleeps_until_ms(60_000).await;
    scheduled.clock.turn_to_ms(60_000);
    scheduled.clock.sleeps_until_ms(120_000).await;
    scheduled.rested(1).await;
    assert!(!scheduled.is_confirmed("a").await);
    scheduled.clock.turn_to_ms(120_000);
    scheduled.rested(2).await;
    assert!(scheduled.is_confirmed("a").await);
    scheduled.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_stops_waiting_does_not_end_the_session_of_another() {
    let scheduled = Scheduled::begin(Mode::OnDemand).await;
    write(&scheduled.spoke, "a").await;
    let other = Arc::clone(&scheduled.spoke);
    let round = tokio::spawn(async move { other.wait_until_synced(WAIT_MS).await });
    while !round.is_finished() {
        let waiting = scheduled.spoke.wait_until_synced(WAIT_MS);
        let _ = tokio::time::timeout(Duration::from_micros(200), waiting).await;
    }
    round.await.unwrap().unwrap();
    assert!(scheduled.is_confirmed("a").await);
    scheduled.end().await;
}
