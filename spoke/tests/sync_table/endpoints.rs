//! Which of its endpoints the machine calls.

use super::*;

fn probed(endpoint: usize, round_trip_ms: u64) -> Event {
    Event::Probed { endpoint, round_trip_us: Some(round_trip_ms * 1_000) }
}

fn probes(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Probe { .. })).count()
}

#[test]
fn a_session_that_has_stood_a_minute_moves_to_an_endpoint_that_is_clearly_nearer() {
    let mut sync = idle();
    sync.on(applied(1, 1, None), 0);
    assert_eq!(sync.on(probed(0, 100), 0), []);
    assert_eq!(sync.on(probed(1, 10), 0), [], "it has just begun");
    for round in 1..=2 {
        let actions = sync.on(Event::TimerFired(Timer::Measure), round * 30_000);
        assert_eq!(probes(&actions), 2);
        assert!(actions.contains(&Action::SetTimer { timer: Timer::Measure, after_ms: 30_000 }));
    }
    let actions = called(&mut sync, probed(1, 10), 60_010);
    assert_eq!(actions[0], Action::Close);
    assert!(actions.contains(&Action::Connect { endpoint: 1 }), "{actions:?}");
    assert_eq!(sync.status().phase, Phase::Connecting);
    assert_eq!(sync.status().endpoints.current(), 1);
    // That hub is gone: back, without waiting for a measurement.
    delay(&sync.on(Event::ConnectFailed(refusal(Reason::Unreachable)), 60_020));
    let actions = called(&mut sync, Event::TimerFired(Timer::Reconnect), 60_300);
    assert!(actions.contains(&Action::Connect { endpoint: 0 }), "{actions:?}");
}

#[test]
fn the_preferred_endpoint_is_gone_back_to_when_it_answers_again() {
    let mut sync = machine();
    called(&mut sync, Event::Start, 0);
    delay(&sync.on(Event::ConnectFailed(refusal(Reason::Unreachable)), 0));
    called(&mut sync, Event::TimerFired(Timer::Reconnect), 200);
    sync.on(Event::Connected, 200);
    sync.on(Event::WelcomeTaken(WRITER), 200);
    sync.on(applied(1, 1, None), 200);
    let status = sync.status();
    assert_eq!((status.endpoints.current(), status.endpoints.better()), (1, None));
    for round in 1..=4 {
        sync.on(Event::TimerFired(Timer::Measure), round * 30_000);
        let away = Event::Probed { endpoint: 0, round_trip_us: None };
        assert_eq!(sync.on(away, round * 30_000), [], "it does not answer");
        // The session knows better than a measurement that was lost.
        assert_eq!(sync.on(Event::Probed { endpoint: 1, round_trip_us: None }, round * 30_000), []);
        assert_eq!(sync.on(probed(1, 5), round * 30_000), []);
    }
    let actions = called(&mut sync, probed(0, 5), 121_000);
    assert!(actions.contains(&Action::Connect { endpoint: 0 }), "{actions:?}");
}

#[test]
fn a_single_endpoint_is_measured_by_its_pings_and_never_probed() {
    let mut sync = Sync::new(Config::default());
    called(&mut sync, Event::Start, 0);
    sync.on(Event::Connected, 0);
    assert_eq!(probes(&sync.on(Event::WelcomeTaken(WRITER), 0)), 0);
    sync.on(Event::TimerFired(Timer::Keepalive), 15_000);
    sync.on(
        Event::Received(ServerMessage::Pong { nonce: 9, hub_time_ms: 77, backup_watermark: None }),
        15_003,
    );
    assert_eq!(sync.status().endpoints.all()[0].round_trip_us, None, "the answer to another ping");
    sync.on(
        Event::Received(ServerMessage::Pong { nonce: 1, hub_time_ms: 77, backup_watermark: None }),
        15_007,
    );
    assert_eq!(sync.status().endpoints.all()[0].round_trip_us, Some(7_000));
}

#[test]
fn of_two_endpoints_why_one_refuses_is_told_beside_that_the_other_is_not_there() {
    let mut sync = machine();
    called(&mut sync, Event::Start, 0);
    for reason in [Reason::StoreUnsafe, Reason::Unreachable] {
        delay(&sync.on(Event::ConnectFailed(Refusal::new(reason, "told")), 0));
        called(&mut sync, Event::TimerFired(Timer::Reconnect), 0);
    }
    let told = sync.status().last_refusal.unwrap();
    assert_eq!(told.reason, Reason::Unreachable);
    assert_eq!(told.detail, "told; before that: STORE_UNSAFE: told");
    sync.on(Event::Connected, 0);
    sync.on(Event::WelcomeTaken(WRITER), 0);
    assert_eq!(sync.status().last_refusal, None);
}
