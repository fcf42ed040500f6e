use super::*;

fn schedule(mode: Mode) -> Schedule {
    Schedule { mode, ..Schedule::default() }
}

/// Plays a day of writes at given times against a schedule, a millisecond clock in steps; gives when rounds began.
/// A round takes no time here and takes along all that waits.
fn rounds(schedule: Schedule, writes: &[(u64, u64)], until_ms: u64) -> Vec<u64> {
    let mut seen = Seen { last: Some(Ended { at_ms: 0, has_failed: false }), ..Seen::default() };
    let mut began = Vec::new();
    for now_ms in (0..=until_ms).step_by(1000) {
        for (_, changes) in writes.iter().filter(|(at_ms, _)| *at_ms == now_ms) {
            seen.changes += changes;
            seen.waiting_since_ms = seen.waiting_since_ms.or(Some(now_ms));
        }
        if matches!(schedule.due(&seen), Due::At(at_ms) if at_ms <= now_ms) {
            began.push(now_ms);
            seen = Seen { last: Some(Ended { at_ms: now_ms, has_failed: false }), ..Seen::default() };
        }
    }
    began
}

#[test]
fn the_first_round_begins_at_once() {
    for mode in [Mode::Periodic, Mode::Batch] {
        assert_eq!(schedule(mode).due(&Seen::default()), Due::At(0));
    }
}

#[test]
fn a_periodic_schedule_syncs_every_five_minutes_whatever_is_written() {
    let began = rounds(schedule(Mode::Periodic), &[(1_000, 1), (2_000, 5_000)], 900_000);
    assert_eq!(began, [300_000, 600_000, 900_000]);
}

#[test]
fn a_lone_change_goes_after_sixty_seconds() {
    assert_eq!(rounds(schedule(Mode::Batch), &[(10_000, 1)], 100_000), [70_000]);
}

#[test]
fn the_sixty_seconds_count_from_the_first_change_of_a_batch() {
    let writes = [(10_000, 1), (40_000, 1), (69_000, 1), (71_000, 1)];
    assert_eq!(rounds(schedule(Mode::Batch), &writes, 140_000), [70_000, 131_000]);
}

#[test]
fn a_hundred_changes_go_at_once_and_ninety_nine_wait() {
    assert_eq!(rounds(schedule(Mode::Batch), &[(10_000, 99), (20_000, 1)], 65_000), [20_000]);
    assert_eq!(rounds(schedule(Mode::Batch), &[(10_000, 99)], 69_000), Vec::<u64>::new());
    assert_eq!(rounds(schedule(Mode::Batch), &[(10_000, 250)], 65_000), [10_000]);
}

#[test]
fn a_batch_schedule_also_pulls_every_period() {
    assert_eq!(rounds(schedule(Mode::Batch), &[], 600_000), [300_000, 600_000]);
    assert_eq!(rounds(schedule(Mode::Batch), &[(290_000, 1)], 360_000), [300_000]);
}

#[test]
fn after_a_failed_round_a_full_batch_waits_too() {
    let last = Some(Ended { at_ms: 100_000, has_failed: true });
    let seen = Seen { changes: 500, waiting_since_ms: Some(90_000), urgent_since_ms: None, last };
    assert_eq!(schedule(Mode::Batch).due(&seen), Due::At(160_000));
}

#[test]
fn the_other_two_have_no_rounds_of_their_own() {
    let seen = Seen { changes: 500, waiting_since_ms: Some(1), urgent_since_ms: None, last: None };
    assert_eq!(schedule(Mode::OnEvent).due(&seen), Due::Standing);
    assert_eq!(schedule(Mode::OnDemand).due(&seen), Due::WhenAsked);
}

#[test]
fn times_at_the_end_of_the_clock_do_not_wrap() {
    let last = Some(Ended { at_ms: u64::MAX, has_failed: true });
    let seen = Seen { changes: 1, waiting_since_ms: Some(u64::MAX), urgent_since_ms: None, last };
    assert_eq!(schedule(Mode::Batch).due(&seen), Due::At(u64::MAX));
}

#[test]
fn what_is_urgent_begins_a_round_at_once_unless_somebody_has_to_ask() {
    let ended = |has_failed| Some(Ended { at_ms: 10_000, has_failed });
    let seen = |has_failed| Seen {
        changes: 1,
        waiting_since_ms: Some(20_000),
        urgent_since_ms: Some(20_000),
        last: ended(has_failed),
    };
    for mode in [Mode::Periodic, Mode::Batch] {
        assert_eq!(schedule(mode).due(&seen(false)), Due::At(20_000), "{mode:?}");
        assert_eq!(schedule(mode).due(&seen(true)), Due::At(70_000), "{mode:?}: not in a tight circle");
    }
    assert_eq!(schedule(Mode::OnDemand).due(&seen(false)), Due::WhenAsked);
    assert_eq!(schedule(Mode::OnEvent).due(&seen(false)), Due::Standing);
}
