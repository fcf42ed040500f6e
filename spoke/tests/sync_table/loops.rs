//! Loops: whatever leads nowhere again and again is tried ever less often, and the status says so and why.

use super::*;

/// One round of what leads nowhere; gives the wait before the next.
type Round = fn(&mut Sync) -> u64;

/// The first push of a session.
pub(crate) const PUSH: Step = Step::PreparePush { items_max: 32 };

fn config() -> Config {
    Config { endpoints: 1, credit_bytes: 100, ..Config::default() }
}

fn greeting(sync: &mut Sync) {
    sync.on(Event::TimerFired(Timer::Reconnect), 0);
    sync.on(Event::HelloReady(hello()), 0);
    sync.on(Event::Connected, 0);
}

fn welcomed(sync: &mut Sync) {
    greeting(sync);
    sync.on(Event::WelcomeTaken(WRITER), 0);
    assert_eq!(sync.status().phase, Phase::Live);
}

/// The hub takes the session and the cut stands, but it ends with every push.
fn a_push_that_ends_every_session(sync: &mut Sync) -> u64 {
    welcomed(sync);
    sync.on(Event::PushReady(Some(push())), 0);
    sync.on(applied(1, 0, None), 0);
    delay(&goodbye(sync, Reason::Internal))
}

fn a_page_that_is_never_applied(sync: &mut Sync) -> u64 {
    welcomed(sync);
    sync.on(Event::PushReady(None), 0);
    delay(&sync.on(Event::StepFailed(refusal(Reason::StoreFull)), 0))
}

fn a_cursor_that_always_expires(sync: &mut Sync) -> u64 {
    welcomed(sync);
    sync.on(Event::PushReady(None), 0);
    sync.on(Event::Staged { bytes: 10 }, 0);
    goodbye(sync, Reason::CursorExpired);
    delay(&sync.on(Event::Rebootstrapped, 0))
}

fn a_position_that_never_unseals(sync: &mut Sync) -> u64 {
    greeting(sync);
    goodbye(sync, Reason::BadToken);
    delay(&sync.on(Event::ResumeForgotten, 0))
}

fn a_hub_that_always_drains(sync: &mut Sync) -> u64 {
    greeting(sync);
    delay(&goodbye(sync, Reason::Draining))
}

fn an_epoch_that_does_not_help(sync: &mut Sync) -> u64 {
    greeting(sync);
    goodbye(sync, Reason::NodeForked);
    reconciled(sync)
}

fn a_welcome_that_always_needs_an_epoch(sync: &mut Sync) -> u64 {
    greeting(sync);
    reconciled(sync)
}

/// The replica needs one before it says anything; each that it gets is closed at once.
fn a_replica_that_always_needs_an_epoch(sync: &mut Sync) -> u64 {
    sync.on(Event::TimerFired(Timer::Reconnect), 0);
    sync.on(Event::EpochNeeded, 0);
    sync.on(Event::ReconcileReady(Reconcile { cursor: None, after: CommitNumber::ZERO, left: None }), 0);
    let actions = sync.on(Event::ReconcileSettled(None), 0);
    if sync.status().phase == Phase::Connecting { 0 } else { delay(&actions) }
}

fn reconciled(sync: &mut Sync) -> u64 {
    sync.on(Event::EpochNeeded, 0);
    sync.on(Event::ReconcileReady(Reconcile { cursor: None, after: CommitNumber::ZERO, left: None }), 0);
    let actions = called(sync, Event::ReconcileSettled(None), 0);
    if matches!(actions.last(), Some(Action::Connect { .. })) { 0 } else { delay(&actions) }
}

#[test]
fn what_leads_nowhere_is_tried_ever_less_often_and_the_status_says_so() {
    let loops: [(&str, Round, Option<Reason>); 8] = [
        ("a push", a_push_that_ends_every_session, Some(Reason::Internal)),
        ("a page", a_page_that_is_never_applied, Some(Reason::StoreFull)),
        ("a cursor", a_cursor_that_always_expires, Some(Reason::CursorExpired)),
        ("a position", a_position_that_never_unseals, Some(Reason::BadToken)),
        ("draining", a_hub_that_always_drains, Some(Reason::Draining)),
        ("a welcome", a_welcome_that_always_needs_an_epoch, None),
        ("a greeting", a_replica_that_always_needs_an_epoch, None),
        ("an epoch", an_epoch_that_does_not_help, Some(Reason::NodeForked)),
    ];
    for (name, round, reason) in loops {
        let mut sync = Sync::new(config());
        sync.on(Event::Start, 0);
        let delays: Vec<u64> = (0..12).map(|_| round(&mut sync)).collect();
        assert!(delays[0] <= config().backoff_min_ms, "{name} is tried again soon at first: {delays:?}");
        assert!(delays[11] >= config().backoff_max_ms / 2, "{name} is tried less and less: {delays:?}");
        let status = sync.status();
        assert!(status.in_vain >= 11, "{name}: {status:?}");
        assert_eq!(status.last_refusal.map(|refusal| refusal.reason), reason, "{name}");
        // Once it leads somewhere, nothing is held against it.
        welcomed(&mut sync);
        sync.on(Event::PushReady(None), 0);
        sync.on(applied(9, 0, None), 0);
        assert_eq!(sync.status().in_vain, 0, "{name}");
        assert!(delay(&goodbye(&mut sync, Reason::Internal)) <= config().backoff_min_ms, "{name}");
    }
}

#[test]
fn sessions_that_get_on_are_not_held_against_the_next() {
    let mut sync = Sync::new(config());
    sync.on(Event::Start, 0);
    for _ in 0..20 {
        welcomed(&mut sync);
        // A long catch-up that is cut off again and again, and an outbox that gets shorter each time.
        sync.on(Event::Staged { bytes: 10 }, 0);
        assert!(delay(&sync.on(Event::Disconnected(None), 0)) <= config().backoff_min_ms);
        welcomed(&mut sync);
        sync.on(Event::PushReady(Some(push())), 0);
        sync.on(settled(1, None), 0);
        assert!(delay(&sync.on(Event::Disconnected(None), 0)) <= config().backoff_min_ms);
    }
}

#[test]
fn what_was_staged_and_is_damaged_is_fetched_anew_once() {
    let damaged = || Event::StagedDamaged(Refusal::new(Reason::StoreCorrupt, "of no use"));
    let anew = [Action::Close, Action::Step(Step::ForgetResume)];
    let mut sync = Sync::new(config());
    sync.on(Event::Start, 0);
    for attempt in 0..3 {
        welcomed(&mut sync);
        assert_eq!(sync.on(damaged(), 0), anew, "attempt {attempt}");
        assert_eq!(sync.status().last_refusal.unwrap().reason, Reason::StoreCorrupt);
        assert!(delay(&sync.on(Event::ResumeForgotten, 0)) > 0);
        welcomed(&mut sync);
        sync.on(Event::Staged { bytes: 10 }, 0);
        let actions = sync.on(damaged(), 0);
        let [Action::Close, Action::Stop(refusal)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(refusal.reason, Reason::StoreCorrupt);
        assert!(refusal.detail.starts_with("of no use; "), "{refusal}");
        assert_eq!(sync.on(Event::TimerFired(Timer::Reconnect), 0), [], "it waits for a person");
        sync.on(Event::Start, 0);
    }
    // A cut that stands ends it: what is damaged long after is fetched anew again.
    for _ in 0..3 {
        welcomed(&mut sync);
        assert_eq!(sync.on(damaged(), 0), anew);
        sync.on(Event::ResumeForgotten, 0);
        welcomed(&mut sync);
        sync.on(applied(1, 0, None), 0);
        delay(&sync.on(Event::Disconnected(None), 0));
    }
}

#[test]
fn answers_that_settle_nothing_come_ever_less_often_and_say_why() {
    let mut sync = Sync::new(config());
    sync.on(Event::Start, 0);
    welcomed(&mut sync);
    let mut waits = Vec::new();
    for _ in 0..8 {
        sync.on(Event::PushReady(Some(push())), 0);
        let detail = "no room".to_owned();
        let transient = Transient { n: 1, reason: Reason::QuotaExceeded, detail, retry_after_ms: 0 };
        let answer = Results { waits: Some(transient), ..results() };
        sync.on(Event::Received(ServerMessage::Results(answer)), 0);
        let actions = sync.on(settled(0, None), 0);
        let [Action::SetTimer { timer: Timer::Push, after_ms }] = actions[..] else { panic!("{actions:?}") };
        waits.push(after_ms);
        let told = sync.status().push_waits.unwrap();
        assert_eq!((told.reason, told.detail.as_str()), (Reason::QuotaExceeded, "no room"));
        sync.on(Event::TimerFired(Timer::Push), 0);
    }
    assert_eq!((waits[0], waits[1]), (config().stall_ms, 2 * config().stall_ms));
    assert_eq!(waits[7], config().backoff_max_ms, "{waits:?}");
    sync.on(Event::PushReady(Some(push())), 0);
    sync.on(Event::Received(ServerMessage::Results(results())), 0);
    sync.on(settled(1, None), 0);
    assert_eq!(sync.status().push_waits, None);
}

#[test]
fn a_page_of_a_reconciliation_that_is_followed_by_itself_ends_it() {
    let mut sync = Sync::new(config());
    called(&mut sync, Event::Start, 0);
    sync.on(Event::Connected, 0);
    goodbye(&mut sync, Reason::NodeForked);
    sync.on(Event::EpochNeeded, 0);
    let ask = |after| Reconcile { cursor: None, after: CommitNumber(after), left: None };
    sync.on(Event::ReconcileReady(ask(3)), 0);
    assert!(matches!(sync.on(Event::ReconcileSettled(Some(ask(4))), 0)[1], Action::Reconcile { .. }));
    delay(&sync.on(Event::ReconcileSettled(Some(ask(4))), 0));
    assert_eq!(sync.status().last_refusal.unwrap().reason, Reason::Internal);
}

#[test]
fn a_write_of_which_no_notice_came_is_sent_with_the_next_ping() {
    let mut sync = idle();
    let actions = sync.on(Event::TimerFired(Timer::Keepalive), 1);
    assert_eq!(actions.last(), Some(&Action::Step(PUSH)), "{actions:?}");
}
