use serde_json::json;

use super::*;
use crate::clock::{HybridTime, Stamp};
use crate::envelope::{Base, KEY_ID_CLEAR, Mutation, Op};
use crate::health::Health;
use crate::identity::snapshot::state_hash;
use crate::identity::vote::State;
use crate::ids::{Dot, Incarnation, Key, Kind, MutationId, NodeId, RecordId, Revision, Salt, Writer};
use crate::version::Version;

fn dot(node: u8, n: u64) -> Dot {
    Dot { writer: Writer { node: NodeId([node; 16]), epoch: 1 }, n }
}

fn state(depth: u8, priority: Option<f64>) -> Value {
    let parameters = json!({"D": depth, "C": 0.5, "R": 1});
    let snapshot = json!({"stability_metrics": {"parameter_values": parameters}});
    let hash = state_hash(&snapshot).unwrap().to_string();
    let about = json!({"precedence_priority": priority, "state_hash": hash});
    json!({"sync_metadata": about, "identity_snapshot": snapshot})
}

fn broken(depth: u8) -> Value {
    let mut state = state(depth, None);
    state["sync_metadata"]["state_hash"] = json!("00".repeat(32));
    state
}

fn side(node: u8, ms: u64, health: Health, body: &Value) -> State<'_> {
    let stamp = Stamp { time: HybridTime { ms, counter: 0 }, dot: dot(node, 1) };
    State { stamp, body: Some(body), health }
}

/// What the matrix makes of two sides, in both orders, and why.
fn ruled(cause: Cause, sides: [State<'_>; 2]) -> Option<(Ruling, String)> {
    let of = |sides: &[State<'_>]| {
        rule_on(&Case { cause, sides, ancestor: Some(&state(4, None)), sound: Some(Revision(3)) })
            .map(|ruled| (ruled.ruling, ruled.reason))
    };
    let first = of(&sides);
    assert_eq!(first, of(&[sides[1], sides[0]]), "sides may be swapped");
    first
}

#[test]
fn each_type_has_its_strategies() {
    let well = Health::Healthy;
    let (weak, strong) = (state(4, None), state(6, None));
    let (low, high) = (state(4, Some(0.2)), state(4, Some(0.8)));
    let (bad, worse) = (broken(6), broken(5));
    let side_of = |node: u8| Some(Ruling::Side(dot(node, 1)));
    let cases = [
        (Cause::Version, [side(1, 20, well, &weak), side(2, 10, well, &strong)], side_of(1), "timestamp"),
        (Cause::Version, [side(1, 10, well, &weak), side(2, 10, well, &strong)], side_of(2), "health"),
        (
            Cause::Version,
            [side(1, 10, well, &weak), side(2, 10, Health::Suspect, &strong)],
            side_of(1),
            "healthy",
        ),
        (Cause::Version, [side(1, 10, well, &weak), side(2, 10, well, &weak)], None, ""),
        (Cause::Divergent, [side(1, 20, well, &weak), side(2, 10, well, &strong)], side_of(2), "consensus"),
        (
            Cause::Divergent,
            [side(1, 10, well, &weak), side(2, 10, well, &weak)],
            Some(Ruling::Ancestor),
            "ancestor",
        ),
        (Cause::SplitBrain, [side(1, 20, well, &low), side(2, 10, well, &high)], side_of(2), "precedence"),
        (Cause::SplitBrain, [side(1, 20, well, &weak), side(2, 10, well, &low)], side_of(2), "precedence"),
        (Cause::SplitBrain, [side(1, 20, well, &low), side(2, 10, well, &low)], None, ""),
        (Cause::SplitBrain, [side(1, 20, well, &weak), side(2, 10, well, &strong)], None, ""),
        (Cause::Corruption, [side(1, 20, well, &bad), side(2, 10, well, &weak)], side_of(2), "discard"),
        (
            Cause::Corruption,
            [side(1, 20, well, &bad), side(2, 10, well, &worse)],
            Some(Ruling::Stood(Revision(3))),
            "restore",
        ),
    ];
    for (cause, sides, expected, word) in cases {
        let found = ruled(cause, sides);
        assert_eq!(found.as_ref().map(|found| found.0), expected, "{cause:?} {word}");
        let reason = found.map(|found| found.1).unwrap_or_default();
        assert!(reason.contains(word) && (reason.is_empty() || reason.starts_with(cause.name())), "{reason}");
    }
    let levels = Cause::ALL.map(|cause| cause.manual().name());
    assert_eq!(levels, ["always", "recommended", "required", "optional"]);
}

#[test]
fn what_is_not_kept_is_not_gone_back_to() {
    let (weak, bad) = (state(4, None), broken(4));
    for (cause, body) in [(Cause::Divergent, &weak), (Cause::Corruption, &bad)] {
        let sides = [side(1, 10, Health::Healthy, body), side(2, 10, Health::Healthy, body)];
        assert_eq!(rule_on(&Case { cause, sides: &sides, ancestor: None, sound: None }), None);
    }
}

#[test]
fn a_collapsed_state_wins_only_over_collapsed_ones() {
    let well = Health::Healthy;
    let (healthy, collapsed) = (state(4, Some(0.1)), state(1, Some(0.9)));
    let sides = [side(1, 10, Health::Suspect, &healthy), side(2, 90, well, &collapsed)];
    let ruling = |cause| ruled(cause, sides).map(|ruled| ruled.0);
    assert_eq!(ruling(Cause::Version), Some(Ruling::Side(dot(1, 1))));
    assert_eq!(ruling(Cause::Divergent), Some(Ruling::Side(dot(1, 1))));
    assert_eq!(ruling(Cause::SplitBrain), None, "a person says");
    let both = [side(1, 10, well, &collapsed), side(2, 90, well, &collapsed)];
    assert_eq!(ruled(Cause::Version, both).map(|ruled| ruled.0), Some(Ruling::Side(dot(2, 1))));
    // The only side that holds, an ancestor, a state of history.
    let misstated = broken(6);
    let sides = [side(1, 20, well, &misstated), side(2, 10, well, &collapsed)];
    assert_eq!(ruled(Cause::Corruption, sides).map(|ruled| ruled.0), Some(Ruling::Stood(Revision(3))));
    let nothing_sound =
        |sides| rule_on(&Case { cause: Cause::Corruption, sides, ancestor: None, sound: None });
    assert_eq!(nothing_sound(&sides), None, "a person says");
    let equal = [side(1, 10, well, &healthy), side(2, 10, well, &healthy)];
    let gone_back =
        |sides, ancestor| rule_on(&Case { cause: Cause::Divergent, sides, ancestor, sound: None });
    assert_eq!(gone_back(&equal, Some(&collapsed)), None);
    assert!(gone_back(&equal, Some(&healthy)).is_some());
    assert_eq!(gone_back(&equal, Some(&misstated)), None, "it does not hold");
    let both = [side(1, 10, well, &collapsed), side(2, 10, well, &collapsed)];
    assert!(gone_back(&both, Some(&collapsed)).is_some());
    assert!(may_come_back(&collapsed, &both) && !may_come_back(&collapsed, &equal));
    assert!(may_come_back(&healthy, &equal) && !may_come_back(&misstated, &equal));
}

#[test]
fn a_side_that_nobody_can_read_leaves_it_to_a_person() {
    let body = state(4, Some(0.9));
    for cause in Cause::ALL {
        let dark = State { body: None, ..side(2, 20, Health::Healthy, &body) };
        assert_eq!(ruled(cause, [side(1, 10, Health::Healthy, &body), dark]), None, "{cause:?}");
    }
}

/// A write whose base holds these dots, and one of its own writer's that is not confirmed.
fn write(by: Dot, holds: &[Dot], own: Option<Dot>) -> Mutation {
    let version = holds.iter().chain(&own).fold(Version::default(), |version, dot| version.with(*dot));
    Mutation {
        id: MutationId([by.writer.node.0[0]; 16]),
        dot: by,
        group: None,
        key: Key { kind: Kind::new("identity").unwrap(), id: RecordId::new("me").unwrap() },
        op: Op::Put { body: b"{}".to_vec().into() },
        placement: None,
        incarnation: Incarnation::ZERO,
        base: Base { version, revision: Revision(1), own },
        time: HybridTime { ms: 1, counter: 0 },
        written_ms: 1,
        author: by.writer.node,
        key_id: KEY_ID_CLEAR,
        salt: Salt([1; 16]),
        signature: None,
    }
}

/// What comes, what it had not seen (from revision 11 on), and what its session opened with.
fn apart(comes: &Mutation, unseen: &[&Mutation], away: Option<(u64, u64)>) -> Cause {
    let rows =
        unseen.iter().zip(11..).map(|(mutation, revision)| Unseen { revision: Revision(revision), mutation });
    let away = away.map(|(had, found)| Away { had: Revision(had), found: Revision(found) });
    came_apart(comes, &rows.collect::<Vec<_>>(), away)
}

#[test]
fn each_side_one_write_on_is_a_version() {
    let (ancestor, theirs) = (dot(9, 1), write(dot(1, 1), &[dot(9, 1)], None));
    let mine = write(dot(2, 1), &[ancestor], None);
    assert_eq!(apart(&mine, &[&theirs], Some((10, 20))), Cause::Version);
    let third = write(dot(3, 1), &[ancestor], None);
    assert_eq!(apart(&mine, &[&theirs, &third], Some((10, 20))), Cause::Version, "three that met at once");
}

#[test]
fn a_side_that_went_on_makes_it_divergent() {
    let first = write(dot(1, 1), &[dot(9, 1)], None);
    let own = write(dot(1, 2), &[dot(9, 1)], Some(dot(1, 1)));
    let of_another = write(dot(3, 1), &[dot(9, 1), dot(1, 1)], None);
    let mine = write(dot(2, 1), &[dot(9, 1)], None);
    for further in [&own, &of_another] {
        assert_eq!(apart(&mine, &[&first, further], Some((10, 20))), Cause::Divergent);
    }
    let mine_too = write(dot(2, 2), &[dot(9, 1)], Some(dot(2, 1)));
    assert_eq!(apart(&mine_too, &[&first], Some((10, 20))), Cause::Divergent);
}

#[test]
fn both_going_on_while_one_was_away_is_split_brain() {
    let first = write(dot(1, 1), &[dot(9, 1)], None);
    let further = write(dot(1, 2), &[dot(9, 1)], Some(dot(1, 1)));
    let mine = write(dot(2, 2), &[dot(9, 1)], Some(dot(2, 1)));
    let of = |away| apart(&mine, &[&first, &further], away);
    assert_eq!(of(Some((10, 12))), Cause::SplitBrain);
    assert_eq!(of(Some((0, 400))), Cause::SplitBrain);
    for (away, why) in [
        (None, "nothing is known of its session"),
        (Some((11, 20)), "its replica had the first of them"),
        (Some((10, 11)), "the other went on while it was there"),
        (Some((10, 10)), "it was there all the time"),
    ] {
        assert_eq!(of(away), Cause::Divergent, "{why}");
    }
}

#[test]
fn what_the_other_side_had_seen_is_no_going_on() {
    // The other wrote on this writer's first, which this writer does not know yet.
    let theirs = write(dot(1, 1), &[dot(9, 1), dot(2, 1)], None);
    let mine = write(dot(2, 2), &[dot(9, 1)], Some(dot(2, 1)));
    assert_eq!(apart(&mine, &[&theirs], None), Cause::Version);
}
