//! The rules of `decide` and `parse` one by one, and what a conflict keeps of its sides.
#![allow(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

mod support;

use semantics::conflict::{CONFLICT_SIDES_MAX, ConflictType};
use semantics::decide::{Context, Decision, Retired, decide, parse};
use semantics::envelope::{BODY_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, Op};
use semantics::ids::{Dot, Incarnation, NodeId, Revision, Writer};
use semantics::kind::Policy;
use semantics::reason::Reason;
use semantics::version::{VERSION_WRITERS_MAX, Version};
use support::{Author, Hub, context, parsed, patch, placement, put};

const NOW_MS: u64 = 1_000;

#[track_caller]
fn assert_refused(decision: &Decision, reason: Reason) {
    let Decision::Rejected(refusal) = decision else { unreachable!("taken: {decision:?}") };
    assert_eq!(refusal.reason, reason, "{refusal}");
}

#[track_caller]
fn assert_unparsed(op: Op, reason: Reason) {
    let mutation = Author::new(1).write(None, op, NOW_MS);
    assert_eq!(parse(mutation).unwrap_err().reason, reason);
}

#[test]
fn parse_names_what_is_wrong_with_a_body() {
    assert_unparsed(put("[]"), Reason::Malformed);
    assert_unparsed(put(r#"{"a": 1}"#), Reason::NotCanonical);
    assert_unparsed(put(r#"{"a":9007199254740992}"#), Reason::UnsafeNumber);
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    assert_unparsed(put(&large), Reason::TooLarge);
    assert_unparsed(put(&format!(r#"{{"{}":1}}"#, "x".repeat(FIELD_NAME_BYTES_MAX + 1))), Reason::TooLarge);
    assert_unparsed(patch("{}", &["b", "a"]), Reason::Malformed);
    assert_unparsed(patch("{}", &["a", "a"]), Reason::Malformed);
    assert_unparsed(patch(r#"{"a":1}"#, &["a"]), Reason::Malformed);
}

#[test]
fn parse_refuses_a_base_that_cannot_be() {
    let mut author = Author::new(1);
    let mut mutation = author.write(None, put("{}"), NOW_MS);
    mutation.base.version.add(mutation.dot);
    assert_eq!(parse(mutation).unwrap_err().reason, Reason::Malformed);
    let mut mutation = author.write(None, put("{}"), NOW_MS);
    mutation.base.own = Some(mutation.dot);
    assert_eq!(parse(mutation).unwrap_err().reason, Reason::Malformed);
}

#[test]
fn a_put_on_an_unknown_base_leaps_over_a_bounded_number_of_incarnations() {
    let (mut author, mut stranger) = (Author::new(1), Author::new(2));
    for (incarnation, is_taken) in [(1_024, true), (1_025, false), (u64::MAX, false)] {
        let mut hub = Hub::new(Policy::LastWriter);
        assert!(matches!(hub.take(&author.write(None, put("{}"), NOW_MS)), Decision::Applied(_)));
        let mut ahead = stranger.write(None, put("{}"), NOW_MS);
        ahead.base.version.add(Author::new(3).write(None, put("{}"), NOW_MS).dot);
        ahead.incarnation = Incarnation(incarnation);
        let decided = hub.take(&ahead);
        if is_taken {
            assert!(decided.record().is_some(), "{decided:?}");
        } else {
            assert_refused(&decided, Reason::RecordGone);
        }
    }
}

#[test]
fn sealed_bodies_are_opaque_and_never_merged_by_field() {
    let mut mutation = Author::new(1).write(None, Op::Put { body: vec![0xff, 0x00].into() }, NOW_MS);
    mutation.key_id = 7;
    let mut hub = Hub::new(Policy::LastWriter);
    assert!(matches!(hub.take(&mutation), Decision::Applied(_)));
    assert_eq!(hub.view().unwrap().key_id, 7);
    assert_refused(&Hub::new(Policy::Fields).take(&mutation), Reason::Malformed);
    mutation.op = patch("{}", &["a"]);
    assert_eq!(parse(mutation).unwrap_err().reason, Reason::Malformed);
}

#[test]
fn an_empty_put_is_a_record_and_an_empty_patch_is_nothing() {
    let mut author = Author::new(1);
    let mut hub = Hub::new(Policy::Fields);
    assert!(matches!(hub.take(&author.write(None, put("{}"), NOW_MS)), Decision::Applied(_)));
    assert_eq!(hub.body(), Some("{}"));
    let nothing = author.write(hub.view(), patch("{}", &[]), NOW_MS);
    assert_refused(&hub.take(&nothing), Reason::Malformed);
}

#[test]
fn one_input_keeps_its_salt_and_several_make_one() {
    let mut author = Author::new(1);
    let mut hub = Hub::new(Policy::Fields);
    let whole = author.write(None, put(r#"{"a":"1","b":"1"}"#), NOW_MS);
    hub.take(&whole);
    assert_eq!(hub.view().unwrap().salt, whole.salt);
    let part = author.write(hub.view(), patch(r#"{"b":"2"}"#, &[]), NOW_MS);
    hub.take(&part);
    let record = hub.view().unwrap();
    assert_eq!(record.inputs.values().copied().collect::<Vec<_>>(), [whole.salt, part.salt]);
    assert_eq!(record.salt, semantics::digest::merged_salt([whole.salt, part.salt]));
    assert_eq!(record.facet.as_ref().map(|facet| facet.as_str()), Some("1"));
    let rest = author.write(hub.view(), patch(r#"{"a":"3"}"#, &["b"]), NOW_MS);
    hub.take(&rest);
    assert_eq!(hub.view().unwrap().salt, rest.salt, "nothing of the others is left");
}

#[test]
fn append_only_keeps_the_first_stamp_and_knows_equivocation() {
    let [mut first, mut second] = [Author::new(1), Author::new(2)];
    let one = first.write(None, put(r#"{"v":1}"#), NOW_MS);
    let same = second.write(None, put(r#"{"v":1}"#), NOW_MS);
    let other = second.write(None, put(r#"{"v":2}"#), NOW_MS);
    let twice = first.write(None, put(r#"{"v":3}"#), NOW_MS);
    let mut hub = Hub::after(Policy::AppendOnly, &[&other]);
    assert!(matches!(hub.take(&one), Decision::Conflicted { .. }));
    assert_eq!(hub.conflicts[""].1.conflict_type, ConflictType::Collision);
    assert!(matches!(hub.take(&same), Decision::Merged(_)));
    assert!(matches!(hub.take(&twice), Decision::Conflicted { .. }));
    let conflict = &hub.conflicts[""].1;
    assert_eq!(conflict.conflict_type, ConflictType::Equivocation);
    assert_eq!(conflict.primary.stamp, one.stamp());
    assert_eq!(
        conflict.losers.iter().map(|side| side.stamp).collect::<Vec<_>>(),
        [other.stamp().min(twice.stamp()), other.stamp().max(twice.stamp())]
    );
    assert_eq!((hub.body(), hub.view().unwrap().stamp), (Some(r#"{"v":1}"#), one.stamp()));

    let edit = second.write(hub.view(), put(r#"{"v":4}"#), NOW_MS);
    assert_refused(&hub.take(&edit), Reason::AppendOnly);
    let delete = second.write(hub.view(), Op::Delete, NOW_MS);
    assert!(matches!(hub.take(&delete), Decision::Applied(_)));
    let again = second.write(hub.view(), put(r#"{"v":4}"#), NOW_MS);
    assert!(matches!(hub.take(&again), Decision::Applied(_)));
}

#[test]
fn a_refused_cause_takes_its_effects_along() {
    let mut author = Author::new(1);
    let put_before = author.write(None, put(r#"{"a":"1"}"#), NOW_MS);
    let mut hub = Hub::after(Policy::Fields, &[&put_before]);
    let mut local = hub.clone();
    let refused = author.write(local.view(), patch(r#"{"a":"2"}"#, &[]), NOW_MS);
    local.take(&refused);
    let mut effect = author.write(local.view(), patch(r#"{"b":"2"}"#, &[]), NOW_MS);
    effect.base.own = Some(refused.dot);
    for mut hub in [Hub::new(Policy::Fields), hub.clone()] {
        let decision = hub.take(&effect);
        assert_refused(&decision, Reason::DependsOn);
        assert!(matches!(decision, Decision::Rejected(refusal) if refusal.detail == refused.dot.to_string()));
    }
    assert!(matches!(hub.take(&refused), Decision::Applied(_)));
    assert!(matches!(hub.take(&effect), Decision::Applied(_)));
}

#[test]
fn an_earlier_incarnation_loses_and_is_kept() {
    let [mut first, mut second] = [Author::new(1), Author::new(2)];
    let mut hub = Hub::after(Policy::LastWriter, &[&first.write(None, put(r#"{"v":1}"#), NOW_MS)]);
    let late = second.write(hub.view(), put(r#"{"v":2}"#), NOW_MS + 99);
    let late_delete = second.write(hub.view(), Op::Delete, NOW_MS + 99);
    hub.take(&first.write(hub.view(), Op::Delete, NOW_MS));
    hub.take(&first.write(hub.view(), put(r#"{"v":3}"#), NOW_MS));
    assert!(matches!(hub.take(&late), Decision::Conflicted { .. }));
    assert!(matches!(hub.take(&late_delete), Decision::Merged(_)));
    assert_eq!(hub.body(), Some(r#"{"v":3}"#));
    assert_eq!(hub.conflicts[""].1.losers[0].stamp, late.stamp());

    let mut leap = second.write(hub.view(), put(r#"{"v":4}"#), NOW_MS);
    leap.incarnation = Incarnation(2);
    assert_refused(&hub.take(&leap), Reason::RecordGone);
    leap.op = Op::Delete;
    assert_refused(&hub.take(&leap), Reason::RecordGone);
}

#[test]
fn placement_is_settled_by_its_own_stamp() {
    let [mut first, mut second] = [Author::new(1), Author::new(2)];
    let creation = first.write(None, put(r#"{"a":"1"}"#), NOW_MS);
    let hub = Hub::after(Policy::Fields, &[&creation]);
    let mut moved = first.write(hub.view(), patch(r#"{"a":"2"}"#, &[]), NOW_MS);
    moved.placement = Some(placement("elsewhere"));
    let stays = second.write(hub.view(), patch(r#"{"b":"2"}"#, &[]), NOW_MS + 5);
    for order in [[&moved, &stays], [&stays, &moved]] {
        let mut hub = hub.clone();
        for mutation in order {
            hub.take(mutation);
        }
        assert_eq!(hub.view().unwrap().placement, placement("elsewhere"));
        assert_eq!(hub.view().unwrap().placement_stamp, moved.stamp());
    }
}

#[test]
fn what_merging_makes_too_large_is_refused() {
    let names: Vec<_> = (0..FIELDS_MAX).map(|at| format!("\"f{at:04}\":1")).collect();
    let mut author = Author::new(1);
    let full = author.write(None, put(&format!("{{{}}}", names.join(","))), NOW_MS);
    let mut hub = Hub::after(Policy::Fields, &[&full]);
    let more = author.write(hub.view(), patch(r#"{"g":1}"#, &["f0000"]), NOW_MS);
    assert_refused(&hub.take(&more), Reason::TooLarge);

    let half = "x".repeat(BODY_BYTES_MAX / 2);
    let mut hub =
        Hub::after(Policy::Fields, &[&author.write(None, put(&format!(r#"{{"a":"{half}"}}"#)), NOW_MS)]);
    let more = author.write(hub.view(), patch(&format!(r#"{{"b":"{half}"}}"#), &[]), NOW_MS);
    assert_refused(&hub.take(&more), Reason::TooLarge);
}

#[test]
fn a_version_has_a_bounded_number_of_writers() {
    let mut author = Author::new(1);
    let mut hub = Hub::after(Policy::LastWriter, &[&author.write(None, put("{}"), NOW_MS)]);
    let mut record = hub.record.take().unwrap();
    for epoch in 1..u32::try_from(VERSION_WRITERS_MAX).unwrap() {
        let mut dot = record.stamp.dot;
        dot.writer.epoch += epoch;
        record.version.add(dot);
    }
    let one_more = parsed(&Author::new(2).write(Some(&record), put("{}"), NOW_MS));
    assert_refused(&decide(Some(&record), &one_more, &hub.rule, &context()), Reason::VersionTooWide);
    let known = parsed(&author.write(Some(&record), put("{}"), NOW_MS));
    assert!(matches!(decide(Some(&record), &known, &hub.rule, &context()), Decision::Applied(_)));
}

#[test]
fn a_wide_version_makes_room_where_writers_can_write_no_more() {
    let mut author = Author::new(1);
    let hub = Hub::after(Policy::LastWriter, &[&author.write(None, put("{}"), NOW_MS)]);
    let mut record = hub.record.unwrap();
    let gone = |epoch| Writer { node: NodeId([9; 16]), epoch };
    let past = u32::try_from(VERSION_WRITERS_MAX).unwrap() + 1;
    for epoch in 1..past {
        record.version.add(Dot { writer: gone(epoch), n: 1 });
    }
    let retired = Retired { writers: (1..past).map(gone).collect(), leave: true };
    let known = parsed(&author.write(Some(&record), put("{}"), NOW_MS));
    assert_refused(&decide(Some(&record), &known, &hub.rule, &context()), Reason::VersionTooWide);
    let around = Context { retired, ..context() };
    let Decision::Applied(made) = decide(Some(&record), &known, &hub.rule, &around) else { panic!() };
    assert_eq!(made.version, Version::of(known.mutation.dot));
}

#[test]
fn a_kind_may_begin_to_merge_fields() {
    let mut author = Author::new(1);
    let mut hub = Hub::after(Policy::LastWriter, &[&author.write(None, put(r#"{"a":"1","b":"1"}"#), NOW_MS)]);
    hub.rule.policy = Policy::Fields;
    hub.take(&author.write(hub.view(), patch(r#"{"b":"2"}"#, &[]), NOW_MS));
    assert_eq!(hub.body(), Some(r#"{"a":"1","b":"2"}"#));
    assert_eq!(hub.view().unwrap().inputs.len(), 2);
}

#[test]
fn a_conflict_keeps_its_id_its_ancestor_and_a_bounded_number_of_sides() {
    let mut first = Author::new(1);
    let base = Hub::after(Policy::LastWriter, &[&first.write(None, put(r#"{"v":0}"#), NOW_MS)]);
    let mut hub = base.clone();
    let writers = u8::try_from(CONFLICT_SIDES_MAX).unwrap() + 4;
    let mut id = None;
    for name in 2..2 + writers {
        // Each later than the one before: a new primary every time.
        let mut edit = Author::new(name).write(
            base.view(),
            put(&format!(r#"{{"v":{name}}}"#)),
            NOW_MS + u64::from(name),
        );
        edit.base.revision = Revision(u64::from(name % 3));
        hub.take(&edit);
        if let Some((found, conflict)) = hub.conflicts.get("") {
            assert_eq!(id.get_or_insert(found.clone()), found);
            assert_eq!(conflict.primary.stamp, edit.stamp());
            assert_ne!(conflict.primary.revision, Revision::ZERO);
        }
    }
    let conflict = &hub.conflicts[""].1;
    assert_eq!((conflict.losers.len(), conflict.dropped), (CONFLICT_SIDES_MAX, 3));
    assert!(conflict.losers.is_sorted_by_key(|side| side.stamp));
    assert_eq!(conflict.ancestor, Revision(1), "the first that was known");
    assert!(conflict.open);
}

#[test]
fn a_stamp_is_after_every_field_and_placement_that_was_seen() {
    let mut fast = Author::new(1);
    let [mut slow, mut faster] = [Author::new(2), Author::new(3)];
    let mut creation = fast.write(None, put(r#"{"a":"1"}"#), NOW_MS + 500);
    let seen = Hub::after(Policy::Fields, &[&creation]);
    let mut early = slow.write(seen.view(), patch(r#"{"b":"1"}"#, &[]), NOW_MS);
    early.time.ms = NOW_MS;
    // The record's own stamp is one that the early author had not seen.
    let unseen = faster.write(None, put(r#"{"c":"1"}"#), NOW_MS + 900);
    let mut hub = Hub::after(Policy::Fields, &[&creation, &unseen]);
    assert_refused(&hub.take(&early), Reason::StampBeforeBase);

    creation.op = put("{}");
    creation.placement = Some(placement("elsewhere"));
    let mut hub = Hub::after(Policy::Fields, &[&creation]);
    let mut over = unseen.clone();
    over.placement = None;
    over.base.version.add(creation.dot);
    hub.take(&over);
    assert_eq!(hub.view().unwrap().placement_stamp, creation.stamp());
    assert_refused(&hub.take(&early), Reason::StampBeforeBase);
}

#[test]
fn the_last_write_stays_an_input_even_when_it_set_nothing() {
    let mut author = Author::new(1);
    let whole = author.write(None, put(r#"{"a":"1"}"#), NOW_MS);
    let mut hub = Hub::after(Policy::Fields, &[&whole]);
    let nothing = author.write(hub.view(), put("{}"), NOW_MS);
    hub.take(&nothing);
    let record = hub.view().unwrap();
    assert_eq!(record.inputs.keys().copied().collect::<Vec<_>>(), [whole.stamp(), nothing.stamp()]);
    assert_eq!(record.stamp, nothing.stamp());
}

#[test]
fn a_delete_clashes_with_the_greatest_change_that_it_had_not_seen() {
    let [mut first, mut second, mut third] = [Author::new(1), Author::new(2), Author::new(3)];
    let mut hub = Hub::after(Policy::Fields, &[&first.write(None, put(r#"{"z":"0"}"#), NOW_MS)]);
    let delete = first.write(hub.view(), Op::Delete, NOW_MS);
    let edits = [(&mut second, "a", 30), (&mut third, "b", 20)].map(|(author, field, later_ms)| {
        author.write(hub.view(), patch(&format!(r#"{{"{field}":"1"}}"#), &[]), NOW_MS + later_ms)
    });
    for edit in &edits {
        assert!(hub.take(edit).clashes().is_empty());
    }
    let decision = hub.take(&delete);
    assert_eq!(decision.clashes().iter().map(|clash| clash.loser).collect::<Vec<_>>(), [edits[0].stamp()]);
}

#[test]
fn creating_on_a_tombstone_loses_nothing_to_a_second_delete() {
    let [mut first, mut second, mut third] = [Author::new(1), Author::new(2), Author::new(3)];
    let mut hub = Hub::after(Policy::LastWriter, &[&first.write(None, put("{}"), NOW_MS)]);
    let later_delete = second.write(hub.view(), Op::Delete, NOW_MS + 50);
    hub.take(&first.write(hub.view(), Op::Delete, NOW_MS));
    let again = third.write(hub.view(), put(r#"{"v":1}"#), NOW_MS + 1);
    assert!(matches!(hub.take(&later_delete), Decision::Merged(_)));
    assert!(matches!(hub.take(&again), Decision::Merged(_)));
    assert_eq!(hub.body(), Some(r#"{"v":1}"#));
}

#[test]
fn a_primary_that_its_own_writer_wrote_over_is_no_losing_side() {
    let [mut first, mut second, mut third] = [Author::new(1), Author::new(2), Author::new(3)];
    let base = Hub::after(Policy::LastWriter, &[&first.write(None, put("{}"), NOW_MS)]);
    let mut hub = base.clone();
    let remotes = [&mut first, &mut third].map(|author| author.write(base.view(), put(r#"{"v":1}"#), NOW_MS));
    hub.take(&remotes[0]);
    let edit = second.write(base.view(), put(r#"{"v":2}"#), NOW_MS + 50);
    hub.take(&edit);
    let edit = second.write(hub.view(), put(r#"{"v":3}"#), NOW_MS + 51);
    assert!(matches!(hub.take(&edit), Decision::Applied(_)));
    hub.take(&remotes[1]);
    let conflict = &hub.conflicts[""].1;
    assert_eq!(conflict.primary.stamp, edit.stamp());
    let losers: Vec<_> = conflict.losers.iter().map(|side| side.stamp).collect();
    assert_eq!(losers, remotes.map(|remote| remote.stamp()));
}
