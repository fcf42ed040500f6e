use super::*;
use crate::sync::{Config, Sync};

fn status(phase: Phase, is_level: bool, added: u64, pushed: u64) -> Status {
    let counts = Counts { added, ..Counts::default() };
    let machine = Sync::new(Config::default()).status();
    Status { phase, is_caught_up: is_level, is_drained: is_level, counts, pushed, ..machine }
}

fn at(ms: u64) -> Turn {
    Turn { began_ms: ms, ended_ms: ms + 1, now_ms: 1_000_000 + ms }
}

fn bytes(sent: u64, received: u64) -> Traffic {
    Traffic { sent, received }
}

#[test]
fn a_sync_lasts_from_connecting_until_nothing_is_left() {
    let mut tally = Tally::default();
    tally.note(&status(Phase::Connecting, false, 0, 0), bytes(0, 0), at(100));
    tally.note(&status(Phase::Live, false, 3, 0), bytes(10, 500), at(200));
    tally.note(&status(Phase::Live, true, 7, 2), bytes(40, 900), at(349));
    let statistics = tally.statistics();
    let last = statistics.last.unwrap();
    assert_eq!((last.counts.added, last.pushed, last.duration_ms), (7, 2, 250));
    assert_eq!((last.traffic, statistics.syncs, statistics.last_ended_ms), (bytes(40, 900), 1, 1_000_349));
}

#[test]
fn a_change_in_a_standing_session_is_a_sync_of_its_own() {
    let mut tally = Tally::default();
    tally.note(&status(Phase::Connecting, false, 0, 0), bytes(0, 0), at(100));
    tally.note(&status(Phase::Live, true, 7, 2), bytes(40, 900), at(349));
    tally.note(&status(Phase::Live, true, 7, 2), bytes(60, 950), at(1_400));
    assert_eq!(tally.statistics().syncs, 1, "a ping is none");
    tally.note(&status(Phase::Live, true, 8, 2), bytes(60, 990), at(2_500));
    let statistics = tally.statistics();
    assert_eq!(statistics.syncs, 2);
    assert_eq!(statistics.last.unwrap().traffic, bytes(0, 40));
    assert_eq!(statistics.total.counts.added, 8);
    assert_eq!(statistics.total.duration_ms, 251);
}

#[test]
fn what_comes_back_of_a_push_belongs_to_its_sync() {
    let mut tally = Tally::default();
    tally.note(&status(Phase::Connecting, false, 0, 0), bytes(0, 0), at(100));
    tally.note(&status(Phase::Live, true, 0, 1), bytes(40, 9), at(349));
    tally.note(&status(Phase::Live, true, 1, 1), bytes(50, 90), at(399));
    let statistics = tally.statistics();
    let last = statistics.last.unwrap();
    assert_eq!((statistics.syncs, last.counts.added, last.pushed, last.duration_ms), (1, 1, 1, 300));
    assert_eq!((last.traffic, statistics.total.duration_ms), (bytes(50, 90), 300));
}

#[test]
fn an_attempt_that_fails_is_no_sync_but_its_bytes_count() {
    let mut tally = Tally::default();
    tally.note(&status(Phase::Connecting, false, 0, 0), bytes(0, 0), at(100));
    tally.note(&status(Phase::Waiting, false, 0, 0), bytes(70, 0), at(200));
    tally.note(&status(Phase::Connecting, false, 0, 0), bytes(70, 0), at(90_000));
    tally.note(&status(Phase::Live, true, 0, 0), bytes(100, 5), at(90_099));
    let statistics = tally.statistics();
    assert_eq!((statistics.syncs, statistics.last.unwrap().duration_ms), (1, 100));
    assert_eq!(statistics.last.unwrap().traffic, bytes(30, 5));
    assert_eq!(statistics.total.traffic, bytes(100, 5));
}
