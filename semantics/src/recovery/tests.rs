use super::*;
use crate::ids::{Kind, NodeId, RecordId};

fn writer(byte: u8) -> Writer {
    Writer { node: NodeId([byte; 16]), epoch: 1 }
}

fn dot(byte: u8, n: u64) -> Dot {
    Dot { writer: writer(byte), n }
}

fn hub(n: u64) -> Dot {
    Dot { writer: Writer::HUB, n }
}

const OWN: LogId = LogId([9; 16]);

fn restored(phase: Phase) -> Restored {
    Restored {
        predecessor: LogId([1; 16]),
        commit: CommitNumber(10),
        revision: Revision(40),
        chain: Digest::default(),
        restores: 2,
        time_ms: 5,
        phase,
    }
}

fn cursor(log: u8) -> Cursor {
    Cursor {
        log_id: LogId([log; 16]),
        commit: CommitNumber(12),
        revision: Revision(50),
        chain: Digest::default(),
        view_revision: Revision::ZERO,
    }
}

#[test]
fn only_replicas_of_the_log_before_send_again_and_only_while_the_log_recovers() {
    let recovering = restored(Phase::Recovering);
    assert_eq!(recovering.takes(OWN, Some(&cursor(1)), &[]), Some(recovering.told()));
    assert_eq!(recovering.takes(OWN, Some(&cursor(2)), &[]), None);
    assert_eq!(recovering.takes(OWN, None, &[]), None);
    assert_eq!(restored(Phase::Stopped).takes(OWN, Some(&cursor(1)), &[]), None);
    assert_eq!(restored(Phase::Finished).takes(OWN, Some(&cursor(1)), &[]), None);
}

fn parted(log: u8, commit: u64, revision: u64) -> Recovery {
    Recovery { predecessor: LogId([log; 16]), commit: CommitNumber(commit), revision: Revision(revision) }
}

#[test]
fn so_do_replicas_of_another_log_that_went_on_from_it_from_where_the_two_part() {
    let recovering = restored(Phase::Recovering);
    for (lineage, takes) in [
        (vec![parted(1, 10, 40)], Some(parted(1, 10, 40))),
        (vec![parted(1, 3, 20)], Some(parted(1, 3, 20))),
        (vec![parted(1, 20, 90)], Some(parted(1, 10, 40))),
        (vec![parted(5, 30, 99), parted(1, 3, 20)], Some(parted(1, 3, 20))),
        (vec![parted(5, 30, 99)], None),
    ] {
        assert_eq!(recovering.takes(OWN, Some(&cursor(2)), &lineage), takes, "{lineage:?}");
        assert_eq!(recovering.takes(OWN, None, &lineage), None);
        assert_eq!(recovering.takes(OWN, Some(&cursor(9)), &lineage), None, "it stands in this log already");
        assert_eq!(restored(Phase::Stopped).takes(OWN, Some(&cursor(2)), &lineage), None);
    }
}

#[test]
fn a_lineage_goes_on_with_what_the_replica_knows_of_the_log_before() {
    let log = |log: u8| LogId([log; 16]);
    let (one, two) = (parted(1, 1, 10), parted(2, 2, 20));
    assert_eq!(lineage(None, Some((log(1), &[two]))), []);
    assert_eq!(lineage(Some(one), None), [one]);
    assert_eq!(lineage(Some(two), Some((log(2), &[one]))), [two, one], "it stood in the log before");
    let again = parted(1, 1, 9);
    assert_eq!(
        lineage(Some(again), Some((log(2), &[one]))),
        [again],
        "the same backup, or another of that log"
    );
    let aside = parted(2, 2, 15);
    assert_eq!(lineage(Some(aside), Some((log(3), &[two, one]))), [aside, one]);
    assert_eq!(lineage(Some(two), Some((log(7), &[one]))), [two], "nothing is known of what it went on from");
    let many = vec![one; LINEAGE_MAX + 3];
    assert_eq!(lineage(Some(two), Some((log(2), &many))).len(), LINEAGE_MAX);
}

#[test]
fn epochs_of_a_restored_log_lie_above_all_that_the_log_before_may_have_opened() {
    let restored = restored(Phase::Stopped);
    assert_eq!(restored.first_epoch(), 2 * EPOCHS_PER_LOG, "with a clock that stands at 1970");
    assert!(restored.lost(Revision(41)) && !restored.lost(Revision(40)));
}

#[test]
fn a_backup_that_is_restored_twice_gives_no_epoch_twice() {
    const BEGAN_S: u32 = 1_795_000_000;
    let began_ms = u64::from(BEGAN_S) * 1_000;
    let first_epoch = |time_ms| Restored { time_ms, ..restored(Phase::Stopped) }.first_epoch();
    for at_ms in [began_ms, began_ms + 1, began_ms + 999] {
        let first = first_epoch(at_ms);
        assert_eq!(first, BEGAN_S + 1);
        for seconds in [1, 60, 3_600] {
            // A node opens the first one, and one more in each second but the last.
            let last = first + seconds - 1;
            assert!(last < first_epoch(at_ms + u64::from(seconds) * 1_000), "{at_ms} {seconds}");
        }
    }
    assert_eq!(first_epoch(u64::MAX), u32::MAX);
}

#[test]
fn a_base_names_no_revision_that_this_log_never_gave() {
    let base = |revision| Base { version: Version::of(dot(1, 3)), revision: Revision(revision), own: None };
    assert_eq!(rebased(base(40), Revision(40)), base(40));
    assert_eq!(rebased(base(41), Revision(40)), base(0));
    let with_hub = |n| {
        let settled = Dot { writer: Writer::HUB, n };
        Base { version: base(40).version.with(settled), ..base(40) }
    };
    assert_eq!(rebased(with_hub(40), Revision(40)), with_hub(40));
    assert_eq!(rebased(with_hub(41), Revision(40)), base(40));
}

#[test]
fn an_effect_waits_for_a_cause_of_another_writer_and_not_for_its_own_or_the_hubs() {
    let version: Version = [dot(1, 9), dot(2, 5), hub(77)].into_iter().collect();
    let base = Base { version, revision: Revision::ZERO, own: None };
    assert_eq!(waits_for(&base, writer(1), |_| 4), Some(dot(2, 5)));
    assert_eq!(waits_for(&base, writer(1), |_| 5), None);
    assert_eq!(waits_for(&base, writer(2), |_| 5), Some(dot(1, 9)));
}

fn remnant(dots: &[Dot]) -> Remnant {
    let key = Key { kind: Kind::new("note").unwrap(), id: RecordId::new("a").unwrap() };
    let version = dots.iter().copied().collect();
    Remnant { key, revision: Revision(44), digest: Digest([9; 32]), deleted: false, version }
}

#[test]
fn a_record_is_back_when_all_its_mutations_are() {
    let remnant = remnant(&[dot(1, 3), dot(2, 2), hub(44)]);
    let back = |dots: &[Dot]| {
        let version: Version = dots.iter().copied().collect();
        let digest = Digest::default();
        remnant.is_back(Some(Standing { digest, version: &version }), Revision(40))
    };
    assert!(back(&[dot(1, 3), dot(2, 2)]) && back(&[dot(1, 4), dot(2, 2), dot(3, 1)]));
    assert!(!back(&[dot(1, 3)]) && !back(&[dot(1, 3), dot(2, 1)]));
    assert!(!remnant.is_back(None, Revision(40)));
    let same = Version::empty();
    assert!(remnant.is_back(Some(Standing { digest: Digest([9; 32]), version: &same }), Revision(40)));
}

#[test]
fn what_the_hub_had_written_is_back_once_it_was_written_again() {
    let back = |n| {
        let version = Version::of(hub(n));
        let standing = Standing { digest: Digest::default(), version: &version };
        remnant(&[hub(44)]).is_back(Some(standing), Revision(40))
    };
    assert!(back(41) && !back(40));
    let unknown = Version::of(dot(1, 50));
    let standing = Standing { digest: Digest::default(), version: &unknown };
    assert!(
        !remnant(&[]).is_back(Some(standing), Revision(40)),
        "a version too wide to travel proves nothing"
    );
}

#[test]
fn a_tombstone_of_what_never_came_back_is_nothing_lost() {
    let tombstone = Remnant { deleted: true, ..remnant(&[dot(1, 3)]) };
    assert!(tombstone.is_back(None, Revision(40)));
}

#[test]
fn a_mutation_is_kept_until_a_backup_holds_it_or_it_is_too_old() {
    assert!(keeps(Revision(5), 1_000, Some(Revision(4)), 1_000));
    assert!(!keeps(Revision(5), 1_000, Some(Revision(5)), 1_000));
    assert!(!keeps(Revision(5), 1_000, None, 1_000), "no backups are made");
    assert!(keeps(Revision(5), 1_000, Some(Revision::ZERO), 1_000 + KEPT_MS_MAX));
    assert!(!keeps(Revision(5), 1_000, Some(Revision::ZERO), 1_001 + KEPT_MS_MAX));
}
