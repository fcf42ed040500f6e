//! The sync machine, event by event.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "sync_table/endpoints.rs"]
mod endpoints;

use semantics::cursor::{Cursor, Cut, Next, Page};
use semantics::ids::{CommitNumber, Digest, LogId, NodeId, Revision, Writer};
use semantics::outcome::Transient;
use semantics::reason::{Reason, Refusal};
use semantics::session::{
    About, ClientMessage, Hello, Limits, Push, Reconcile, Reconciliation, Results, ServerMessage, Welcome,
};
use spoke::sync::{Action, Applied, Config, Counts, Event, Phase, Settled, Step, Sync, Timer};

#[path = "sync_table/loops.rs"]
mod loops;

const WRITER: Writer = Writer { node: NodeId([1; 16]), epoch: 1 };

fn refusal(reason: Reason) -> Refusal {
    Refusal::new(reason, "")
}

fn hello() -> Hello {
    Hello {
        protocol: 1,
        stream: None,
        cursor: None,
        resume: None,
        credit_bytes: 100,
        about: About::default(),
        lineage: Vec::new(),
    }
}

fn welcome() -> Welcome {
    let limits = Limits {
        body_bytes_max: 1,
        message_bytes_max: 1,
        push_bytes_max: 1,
        unanswered_max: 1,
        group_mutations_max: 1,
        group_bytes_max: 1,
        clock_ahead_ms_max: 1,
    };
    Welcome {
        protocol: 1,
        log_id: LogId([1; 16]),
        writer: WRITER,
        last_n: 0,
        hub_time_ms: 0,
        limits,
        backup_watermark: None,
        recovery: None,
        origin: None,
    }
}

fn cursor(n: u64) -> Cursor {
    Cursor {
        log_id: LogId([1; 16]),
        commit: CommitNumber(n),
        revision: Revision(n),
        chain: Digest::default(),
        view_revision: Revision::ZERO,
    }
}

fn page(next: Next) -> Page {
    Page { changes: vec![], departures: vec![], next }
}

fn push() -> Push {
    Push { writer: WRITER, confirmed_n: 0, items: vec![] }
}

fn results() -> Results {
    Results { writer: WRITER, outcomes: vec![], waits: None }
}

fn applied(n: u64, bytes: u64, digest_matches: Option<bool>) -> Event {
    Event::Applied(Applied {
        cursor: cursor(n),
        answered_n: 0,
        bytes,
        digest_matches,
        digest: None,
        counts: Counts::default(),
    })
}

fn settled(answered: usize, retry_after_ms: Option<u64>) -> Event {
    Event::Settled(Settled { answered, retry_after_ms })
}

fn machine() -> Sync {
    Sync::new(Config { endpoints: 2, credit_bytes: 100, ..Config::default() })
}

/// What an event leads to, with a replica that has its greeting ready when it is asked for one.
fn called(sync: &mut Sync, event: Event, now_ms: u64) -> Vec<Action> {
    let is_asked = |action: &Action| matches!(action, Action::Step(Step::PrepareHello { .. }));
    let mut actions = sync.on(event, now_ms);
    if let Some(at) = actions.iter().position(is_asked) {
        actions.remove(at);
        actions.extend(sync.on(Event::HelloReady(hello()), now_ms));
    }
    actions
}

/// In session; the replica has been asked what to push.
fn live() -> Sync {
    let mut sync = machine();
    called(&mut sync, Event::Start, 0);
    sync.on(Event::Connected, 0);
    sync.on(Event::Received(ServerMessage::Welcome(welcome())), 0);
    sync.on(Event::WelcomeTaken(WRITER), 0);
    assert_eq!(sync.status().phase, Phase::Live);
    sync
}

/// In session with nothing to push.
fn idle() -> Sync {
    let mut sync = live();
    assert_eq!(sync.on(Event::PushReady(None), 0), []);
    assert!(sync.status().is_drained);
    sync
}

fn goodbye(sync: &mut Sync, reason: Reason) -> Vec<Action> {
    sync.on(Event::Received(ServerMessage::Goodbye(refusal(reason))), 0)
}

fn delay(actions: &[Action]) -> u64 {
    match actions.last() {
        Some(Action::SetTimer { timer: Timer::Reconnect, after_ms }) => *after_ms,
        other => panic!("no reconnect: {other:?}"),
    }
}

#[test]
fn a_session_opens_greets_and_looks_for_something_to_push() {
    let mut sync = machine();
    let actions = sync.on(Event::Start, 0);
    assert!(matches!(
        actions[..],
        [
            Action::SetTimer { timer: Timer::Greeting, .. },
            Action::Step(Step::PrepareHello { credit_bytes: 100 })
        ]
    ));
    assert_eq!(sync.on(Event::Start, 0), []);
    assert_eq!(sync.on(Event::HelloReady(hello()), 0), [Action::Connect { endpoint: 0 }]);
    assert_eq!(sync.on(Event::Connected, 0), [Action::Send(ClientMessage::Hello(hello()))]);
    let actions = sync.on(Event::Received(ServerMessage::Welcome(welcome())), 0);
    assert_eq!(actions, [Action::Step(Step::TakeWelcome(welcome()))]);
    let actions = sync.on(Event::WelcomeTaken(WRITER), 0);
    assert!(matches!(
        actions[..],
        [
            Action::SetTimer { timer: Timer::Keepalive, .. },
            Action::Probe { endpoint: 0 },
            Action::Probe { endpoint: 1 },
            Action::SetTimer { timer: Timer::Measure, .. },
            Action::Step(loops::PUSH)
        ]
    ));
}

#[test]
fn who_asks_is_tried_for_at_once_and_not_again_and_again() {
    let mut sync = machine();
    called(&mut sync, Event::Start, 10_000);
    sync.on(Event::ConnectFailed(refusal(Reason::Unreachable)), 10_000);
    assert_eq!(sync.on(Event::Start, 10_999), [], "it was tried a moment ago");
    assert_eq!(called(&mut sync, Event::Start, 11_000).len(), 2);
    assert_eq!(sync.status().phase, Phase::Connecting);
    sync.on(Event::ConnectFailed(refusal(Reason::Unreachable)), 11_000);
    assert_eq!(sync.on(Event::Start, 11_500), []);
    assert_eq!(sync.status().failures, 2);
}

#[test]
fn no_hub_is_called_by_who_cannot_greet_it_yet() {
    for (event, led) in
        [(Event::EpochNeeded, Phase::Reconciling), (Event::Halted(refusal(Reason::LogForked)), Phase::Idle)]
    {
        let mut sync = machine();
        let asked = sync.on(Event::Start, 0);
        let answered = sync.on(event, 0);
        let is_call = |action: &Action| matches!(action, Action::Connect { .. });
        assert!(!asked.iter().chain(&answered).any(is_call), "{asked:?} {answered:?}");
        assert_eq!(sync.status().phase, led);
    }
}

#[test]
fn the_outbox_is_drained_by_level_with_one_push_in_flight() {
    let mut sync = live();
    // A write while the replica prepares is not forgotten.
    assert_eq!(sync.on(Event::OutboxChanged, 0), []);
    assert_eq!(sync.on(Event::PushReady(None), 0), [Action::Step(loops::PUSH)]);
    let actions = sync.on(Event::PushReady(Some(push())), 0);
    assert_eq!(actions[0], Action::Send(ClientMessage::Push(push())));
    assert_eq!(sync.on(Event::OutboxChanged, 0), []);
    let actions = sync.on(Event::Received(ServerMessage::Results(results())), 0);
    assert_eq!(actions, [Action::Step(Step::Settle(results()))]);
    assert_eq!(sync.on(settled(1, None), 0), [Action::Step(loops::PUSH)]);
    assert_eq!(sync.on(Event::PushReady(None), 0), []);
    assert_eq!(sync.on(Event::OutboxChanged, 0), [Action::Step(loops::PUSH)]);
}

#[test]
fn a_waiting_stream_goes_on_by_time_or_for_a_withdrawal_but_not_for_a_write() {
    let mut sync = live();
    sync.on(Event::PushReady(Some(push())), 0);
    let wait = Action::SetTimer { timer: Timer::Push, after_ms: 700 };
    assert_eq!(sync.on(settled(0, Some(700)), 0), std::slice::from_ref(&wait));
    assert_eq!(sync.on(Event::OutboxChanged, 0), []);
    assert_eq!(sync.on(Event::TimerFired(Timer::Push), 700), [Action::Step(loops::PUSH)]);
    sync.on(Event::PushReady(Some(push())), 0);
    assert_eq!(sync.on(settled(3, Some(700)), 0), [wait]);
    assert_eq!(sync.on(Event::WithdrawAsked, 0), [Action::Step(loops::PUSH)]);
    // The timer of a wait that is over does nothing.
    assert_eq!(sync.on(Event::TimerFired(Timer::Push), 700), []);
}

#[test]
fn an_answer_that_settles_nothing_does_not_make_a_busy_loop() {
    let mut sync = live();
    sync.on(Event::PushReady(Some(push())), 0);
    let after_ms = Config::default().stall_ms;
    assert_eq!(sync.on(settled(0, None), 0), [Action::SetTimer { timer: Timer::Push, after_ms }]);
}

#[test]
fn answers_and_pages_of_a_catch_up_are_movement_and_what_comes_live_is_not() {
    let mut sync = live();
    let mut moved = sync.status().moved;
    let mut has_moved =
        |sync: &Sync| std::mem::replace(&mut moved, sync.status().moved) != sync.status().moved;
    sync.on(Event::Staged { bytes: 10 }, 0);
    assert!(has_moved(&sync));
    sync.on(settled(3, None), 0);
    assert!(has_moved(&sync));
    sync.on(settled(0, None), 0);
    assert!(!has_moved(&sync));
    for n in 1..3 {
        sync.on(applied(n, 10, None), 0);
        assert!(!has_moved(&sync));
    }
}

#[test]
fn credit_follows_what_was_taken_in_and_acks_are_gathered() {
    let mut sync = idle();
    let staged = page(Next::Resume(vec![1]));
    let cut = page(Next::Cut(Cut { cursor: cursor(1), view: None, digest: None }));
    let received = |page: &Page| Event::Received(ServerMessage::Changes(page.clone()));
    assert_eq!(sync.on(received(&staged), 0), [Action::Step(Step::Stage(staged.clone()))]);
    assert_eq!(sync.on(Event::Staged { bytes: 49 }, 0), []);
    let credit = |bytes| Action::Send(ClientMessage::Credit { bytes });
    assert_eq!(sync.on(Event::Staged { bytes: 1 }, 0), [credit(50)]);
    assert_eq!(sync.on(received(&cut), 0), [Action::Step(Step::Apply(cut.clone()))]);
    assert!(!sync.status().is_caught_up);
    let ack_ms = Config::default().ack_ms;
    let timer = Action::SetTimer { timer: Timer::Ack, after_ms: ack_ms };
    assert_eq!(sync.on(applied(1, 60, None), 0), [credit(60), timer]);
    assert!(sync.status().is_caught_up);
    assert_eq!(sync.on(applied(2, 1, None), 0), []);
    let ack = Action::Send(ClientMessage::Ack { cursor: cursor(2), answered_n: Some(0), summed: None });
    assert_eq!(sync.on(Event::TimerFired(Timer::Ack), 200), [ack]);
    assert_eq!(sync.on(Event::TimerFired(Timer::Ack), 400), []);
}

#[test]
fn who_ends_a_session_tells_first_what_it_holds() {
    let mut sync = idle();
    sync.on(applied(1, 1, None), 0);
    let ack = Action::Send(ClientMessage::Ack { cursor: cursor(1), answered_n: Some(0), summed: None });
    assert_eq!(sync.on(Event::Rest, 10), [ack, Action::Close]);
    assert_eq!(sync.status().phase, Phase::Idle);
    let mut told = idle();
    assert_eq!(told.on(Event::Rest, 10), [Action::Close]);
}

#[test]
fn what_came_before_the_replica_took_the_welcome_is_kept_in_order() {
    let mut sync = machine();
    called(&mut sync, Event::Start, 0);
    sync.on(Event::Connected, 0);
    sync.on(Event::Received(ServerMessage::Welcome(welcome())), 0);
    let early = page(Next::Resume(vec![]));
    let actions = sync.on(Event::Received(ServerMessage::Changes(early.clone())), 0);
    assert_eq!(actions, [Action::Step(Step::Stage(early))]);
}

#[test]
fn every_goodbye_leads_somewhere() {
    use Reason::*;
    for (reason, expected) in [
        (NodeForked, Phase::Resetting),
        (LogForked, Phase::Resetting),
        (CursorExpired, Phase::Resetting),
        (BadToken, Phase::Resetting),
        (Draining, Phase::Waiting),
        (Overloaded, Phase::Waiting),
        (OutOfOrder, Phase::Waiting),
        (StoreUnavailable, Phase::Waiting),
        (Internal, Phase::Waiting),
        (Unauthenticated, Phase::Waiting),
        (NodeRevoked, Phase::Idle),
        (PermissionDenied, Phase::Idle),
        (ProtocolVersion, Phase::Idle),
    ] {
        let mut sync = idle();
        let actions = goodbye(&mut sync, reason);
        assert_eq!(actions[0], Action::Close, "{reason:?}");
        assert_eq!(sync.status().phase, expected, "{reason:?}");
        let told = sync.status().last_refusal.map(|refusal| refusal.reason);
        assert_eq!(told, (reason != Unauthenticated).then_some(reason), "a renewal under way is no refusal");
        // Nothing of the old connection moves the machine any more.
        assert_eq!(sync.on(Event::Disconnected(None), 0), []);
        assert_eq!(sync.on(Event::PushReady(Some(push())), 0), []);
        assert_eq!(sync.on(Event::Received(ServerMessage::Results(results())), 0), []);
        assert_eq!(sync.status().phase, expected, "{reason:?}");
    }
}

#[test]
fn an_access_token_that_ended_is_renewed_and_only_a_new_one_that_is_refused_stops() {
    let mut sync = idle();
    for _ in 0..3 {
        assert!(delay(&goodbye(&mut sync, Reason::Unauthenticated)) <= Config::default().backoff_min_ms);
        assert_eq!(sync.status().failures, 0);
        let again = called(&mut sync, Event::TimerFired(Timer::Reconnect), 0);
        assert_eq!(again[1], Action::Connect { endpoint: 0 }, "to the same hub");
        sync.on(Event::Connected, 0);
        sync.on(Event::Received(ServerMessage::Welcome(welcome())), 0);
        sync.on(Event::WelcomeTaken(WRITER), 0);
    }
    goodbye(&mut sync, Reason::Unauthenticated);
    called(&mut sync, Event::TimerFired(Timer::Reconnect), 0);
    sync.on(Event::Connected, 0);
    let actions = goodbye(&mut sync, Reason::Unauthenticated);
    let probe = Action::SetTimer { timer: Timer::Probe, after_ms: Config::default().backoff_max_ms };
    assert_eq!(actions, [Action::Close, Action::Stop(refusal(Reason::Unauthenticated)), probe]);
    // The hub's keys may come back: it is asked, ever again.
    assert_eq!(called(&mut sync, Event::TimerFired(Timer::Probe), 0)[1], Action::Connect { endpoint: 0 });
    sync.on(Event::Connected, 0);
    assert_eq!(goodbye(&mut sync, Reason::Unauthenticated).len(), 3);
}

/// A log that went on from a backup makes tokens anew, and may do so again before anybody was welcomed.
#[test]
fn a_token_is_renewed_whenever_the_one_before_was_known() {
    let mut sync = idle();
    for _ in 0..3 {
        delay(&goodbye(&mut sync, Reason::Unauthenticated));
        assert_eq!(sync.status().last_refusal, None, "a renewal under way is no refusal");
        called(&mut sync, Event::TimerFired(Timer::Reconnect), 0);
        sync.on(Event::Connected, 0);
        goodbye(&mut sync, Reason::LogForked);
        sync.on(Event::Halted(refusal(Reason::LogForked)), 0);
        called(&mut sync, Event::TimerFired(Timer::Probe), 0);
        sync.on(Event::Connected, 0);
    }
}

#[test]
fn a_forked_log_stops_until_started_again() {
    let mut sync = idle();
    let actions = goodbye(&mut sync, Reason::LogForked);
    assert_eq!(actions[1], Action::Step(Step::Halt(refusal(Reason::LogForked))));
    let actions = sync.on(Event::Halted(refusal(Reason::LogForked)), 0);
    let after_ms = Config::default().probe_ms;
    let probe = Action::SetTimer { timer: Timer::Probe, after_ms };
    assert_eq!(actions, [Action::Stop(refusal(Reason::LogForked)), probe]);
    assert_eq!(called(&mut sync, Event::TimerFired(Timer::Reconnect), 0), []);
    // The hub may since have begun to take back what it lost: it is asked, and nothing else happens.
    assert_eq!(called(&mut sync.clone(), Event::TimerFired(Timer::Probe), 0).len(), 2);
    assert_eq!(called(&mut sync, Event::Start, 0).len(), 2);
}

#[test]
fn an_expired_cursor_starts_anew_and_reconnects() {
    let mut sync = idle();
    assert_eq!(goodbye(&mut sync, Reason::CursorExpired)[1], Action::Step(Step::Rebootstrap));
    delay(&sync.on(Event::Rebootstrapped, 0));
    assert!(matches!(called(&mut sync, Event::TimerFired(Timer::Reconnect), 0)[1], Action::Connect { .. }));
}

#[test]
fn a_digest_that_differs_rebuilds_the_replica_once() {
    let mut sync = idle();
    let actions = sync.on(applied(1, 0, Some(false)), 0);
    assert_eq!(actions, [Action::Close, Action::Step(Step::Rebootstrap)]);
    sync.on(Event::Rebootstrapped, 0);
    called(&mut sync, Event::TimerFired(Timer::Reconnect), 0);
    sync.on(Event::Connected, 0);
    sync.on(Event::WelcomeTaken(WRITER), 0);
    let actions = sync.on(applied(2, 0, Some(false)), 0);
    assert!(!actions.contains(&Action::Close), "{actions:?}");
    sync.on(applied(3, 0, Some(true)), 0);
    assert!(sync.on(applied(4, 0, Some(false)), 0).contains(&Action::Close));
}

#[test]
fn a_copy_reconciles_page_by_page_and_then_connects() {
    let mut sync = idle();
    assert_eq!(goodbye(&mut sync, Reason::NodeForked)[1], Action::Step(Step::RequireEpoch));
    assert_eq!(sync.on(Event::EpochNeeded, 0), [Action::Step(Step::PrepareReconcile)]);
    let ask = Reconcile { cursor: Some(cursor(5)), after: CommitNumber(3), left: None };
    let call = |request: &Reconcile| Action::Reconcile { endpoint: 0, request: request.clone() };
    assert_eq!(sync.on(Event::ReconcileReady(ask.clone()), 0)[1], call(&ask));
    let answer = Reconciliation { outcomes: vec![], next: Some(CommitNumber(9)), epoch: None, told_to: None };
    let actions = sync.on(Event::ReconcileAnswer(Ok(answer.clone())), 0);
    assert_eq!(actions, [Action::Step(Step::SettleReconciliation(answer))]);
    let ask = Reconcile { after: CommitNumber(9), ..ask };
    assert_eq!(sync.on(Event::ReconcileSettled(Some(ask.clone())), 0)[1], call(&ask));
    assert!(matches!(called(&mut sync, Event::ReconcileSettled(None), 0)[1], Action::Connect { .. }));
}

#[test]
fn a_reconciliation_that_cannot_be_gives_up_once_and_then_waits() {
    let mut sync = idle();
    goodbye(&mut sync, Reason::NodeForked);
    sync.on(Event::EpochNeeded, 0);
    let ask = Reconcile { cursor: None, after: CommitNumber::ZERO, left: None };
    sync.on(Event::ReconcileReady(ask.clone()), 0);
    let expired = || Event::ReconcileAnswer(Err(refusal(Reason::CursorExpired)));
    assert_eq!(sync.on(expired(), 0), [Action::Step(Step::GiveUpReconciling)]);
    sync.on(Event::ReconcileReady(ask.clone()), 0);
    delay(&sync.on(expired(), 0));
    // A lost answer is waited for no longer than an answer takes.
    let mut sync = idle();
    goodbye(&mut sync, Reason::NodeForked);
    sync.on(Event::EpochNeeded, 0);
    sync.on(Event::ReconcileReady(ask.clone()), 0);
    delay(&sync.on(Event::TimerFired(Timer::Greeting), 0));
}

#[test]
fn failures_back_off_over_all_endpoints_and_open_the_breaker() {
    let mut sync = machine();
    let config = Config { endpoints: 2, ..Config::default() };
    called(&mut sync, Event::Start, 0);
    let mut delays = Vec::new();
    for attempt in 1..=config.breaker_failures {
        delays.push(delay(&sync.on(Event::ConnectFailed(refusal(Reason::Unreachable)), 0)));
        let actions = called(&mut sync, Event::TimerFired(Timer::Reconnect), 0);
        let endpoint = usize::try_from(attempt).unwrap() % 2;
        assert_eq!(actions[1], Action::Connect { endpoint });
    }
    assert!(delays[0] <= 200 && delays[1] <= 200, "{delays:?}");
    assert!((200..=400).contains(&delays[2]), "{delays:?}");
    assert!(delays.iter().all(|delay| *delay <= config.breaker_open_ms));
    assert!(delays.last() >= Some(&(config.breaker_open_ms / 2)), "{delays:?}");
    sync.on(Event::Connected, 0);
    sync.on(Event::WelcomeTaken(WRITER), 0);
    assert_eq!(sync.status().failures, 0);
}

#[test]
fn a_dead_peer_is_noticed_by_silence_only() {
    let mut sync = idle();
    let config = Config::default();
    let actions = sync.on(Event::TimerFired(Timer::Keepalive), config.ping_ms);
    assert!(matches!(actions[0], Action::Send(ClientMessage::Ping { .. })));
    let pong = Event::Received(ServerMessage::Pong { nonce: 1, hub_time_ms: 77, backup_watermark: None });
    assert_eq!(sync.on(pong, 40_000), [Action::Step(Step::NotePong { hub_time_ms: 77, backed_up: None })]);
    let actions = sync.on(Event::TimerFired(Timer::Keepalive), 40_000 + config.dead_peer_ms - 1);
    assert!(matches!(actions[0], Action::Send(_)));
    let actions = sync.on(Event::TimerFired(Timer::Keepalive), 40_000 + config.dead_peer_ms);
    assert_eq!(actions[0], Action::Close);
    delay(&actions);
}

#[test]
fn a_push_without_answer_and_a_silent_greeting_end_the_connection() {
    let mut sync = live();
    sync.on(Event::PushReady(Some(push())), 0);
    delay(&sync.on(Event::TimerFired(Timer::Answer), 30_000));
    let mut sync = idle();
    assert_eq!(sync.on(Event::TimerFired(Timer::Answer), 30_000), []);
    assert_eq!(sync.on(Event::TimerFired(Timer::Greeting), 30_000), []);
    let mut sync = machine();
    called(&mut sync, Event::Start, 0);
    assert_eq!(sync.on(Event::TimerFired(Timer::Greeting), 15_000)[0], Action::Close);
}

#[test]
fn a_store_that_fails_ends_the_session_and_a_damaged_one_stops_it() {
    let mut sync = live();
    delay(&sync.on(Event::StepFailed(refusal(Reason::StoreUnavailable)), 0));
    let mut sync = live();
    let actions = sync.on(Event::StepFailed(refusal(Reason::StoreCorrupt)), 0);
    assert_eq!(actions, [Action::Close, Action::Stop(refusal(Reason::StoreCorrupt))]);
}
