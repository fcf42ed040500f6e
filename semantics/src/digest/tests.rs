use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::envelope::{Base, GroupPlace, Placement};
use crate::ids::{Domain, Facet, GroupId, Incarnation, Kind, MutationId, NodeId, Subject, Writer};

fn dot(node: u8, n: u64) -> Dot {
    Dot { writer: Writer { node: NodeId([node; 16]), epoch: 1 }, n }
}

fn stamp(node: u8, n: u64) -> Stamp {
    Stamp { time: HybridTime { ms: 1_700_000_000_000 + n, counter: 0 }, dot: dot(node, n) }
}

fn mutation() -> Mutation {
    Mutation {
        id: MutationId([1; 16]),
        dot: dot(2, 3),
        group: None,
        key: Key { kind: Kind::new("note").unwrap(), id: RecordId::new("n1").unwrap() },
        op: Op::Put { body: b"{}".to_vec().into() },
        placement: None,
        incarnation: Incarnation(0),
        base: Base::default(),
        time: HybridTime { ms: 5, counter: 6 },
        written_ms: 7,
        author: NodeId([2; 16]),
        key_id: 0,
        salt: Salt([4; 16]),
        signature: None,
    }
}

fn record() -> Record {
    Record {
        key: mutation().key,
        placement: Placement { domain: Domain::default_domain(), subject: None },
        placement_stamp: stamp(2, 3),
        facet: None,
        incarnation: Incarnation(0),
        version: Version::of(dot(2, 3)),
        stamp: stamp(2, 3),
        author: NodeId([2; 16]),
        key_id: 0,
        salt: Salt([4; 16]),
        content: Content::Live(b"{}".to_vec().into()),
        fields: BTreeMap::new(),
        inputs: BTreeMap::new(),
    }
}

#[test]
fn every_part_of_a_mutation_but_its_signature_changes_its_digest() {
    type Change = fn(&mut Mutation);
    let changes: &[Change] = &[
        |_| {},
        |m| m.id = MutationId([9; 16]),
        |m| m.dot = dot(2, 4),
        |m| m.group = Some(GroupPlace { id: GroupId([0; 16]), index: 0, size: 1 }),
        |m| m.key.kind = Kind::new("noten").unwrap(),
        |m| m.key.id = RecordId::new("1").unwrap(),
        |m| m.op = Op::Delete,
        |m| m.op = Op::Put { body: Bytes::new() },
        |m| m.op = Op::Patch { set: b"{}".to_vec().into(), remove: vec![] },
        |m| m.op = Op::Patch { set: b"{}".to_vec().into(), remove: vec!["ab".into()] },
        |m| m.op = Op::Patch { set: b"{}".to_vec().into(), remove: vec!["a".into(), "b".into()] },
        |m| m.placement = Some(Placement { domain: Domain::default_domain(), subject: None }),
        |m| {
            let subject = Some(Subject::new("s").unwrap());
            m.placement = Some(Placement { domain: Domain::default_domain(), subject });
        },
        |m| m.incarnation = Incarnation(1),
        |m| m.base.version = Version::of(dot(1, 1)),
        |m| m.base.revision = Revision(1),
        |m| m.base.own = Some(dot(2, 2)),
        |m| m.time.counter = 5,
        |m| m.time.ms = 6,
        |m| m.written_ms = 8,
        |m| m.author = NodeId([3; 16]),
        |m| m.key_id = 1,
        |m| m.salt = Salt([5; 16]),
    ];
    let digests: BTreeSet<Digest> = changes
        .iter()
        .map(|change| {
            let mut changed = mutation();
            change(&mut changed);
            mutation_digest(&changed)
        })
        .collect();
    assert_eq!(digests.len(), changes.len());

    let signed = Mutation { signature: Some(vec![1]), ..mutation() };
    assert_eq!(mutation_digest(&signed), mutation_digest(&mutation()));
}

#[test]
fn every_part_of_a_record_changes_its_digest() {
    type Change = fn(&mut Record);
    let changes: &[Change] = &[
        |_| {},
        |r| r.key.kind = Kind::new("noten").unwrap(),
        |r| r.key.id = RecordId::new("1").unwrap(),
        |r| r.placement.domain = Domain::new("d").unwrap(),
        |r| r.placement.subject = Some(Subject::new("s").unwrap()),
        |r| r.placement_stamp = stamp(2, 4),
        |r| r.facet = Some(Facet::new("s").unwrap()),
        |r| r.incarnation = Incarnation(1),
        |r| r.version.add(dot(9, 1)),
        |r| r.stamp = stamp(2, 4),
        |r| r.author = NodeId([3; 16]),
        |r| r.key_id = 1,
        |r| r.salt = Salt([5; 16]),
        |r| r.content = Content::Live(Bytes::new()),
        |r| r.content = Content::Deleted,
        |r| _ = r.fields.insert("a".into(), FieldStamp { stamp: stamp(2, 3), removed: false }),
        |r| _ = r.fields.insert("a".into(), FieldStamp { stamp: stamp(2, 3), removed: true }),
        |r| _ = r.inputs.insert(stamp(2, 3), Salt([4; 16])),
    ];
    let digests: BTreeSet<Digest> = changes
        .iter()
        .map(|change| {
            let mut changed = record();
            change(&mut changed);
            record_digest(&changed)
        })
        .collect();
    assert_eq!(digests.len(), changes.len());
}

#[test]
fn a_conflict_id_is_the_digest_in_hexadecimal() {
    let id = conflict_id(&mutation().key, "title", dot(1, 1));
    assert_eq!(id.as_str().len(), 64);
    assert_ne!(id, conflict_id(&mutation().key, "", dot(1, 1)));
    assert_ne!(id, conflict_id(&mutation().key, "title", dot(1, 2)));
}

#[test]
fn a_merged_salt_depends_on_the_order_it_is_given() {
    let (a, b) = (Salt([1; 16]), Salt([2; 16]));
    assert_eq!(merged_salt([a, b]), merged_salt(vec![a, b]));
    assert_ne!(merged_salt([a, b]), merged_salt([b, a]));
}

#[test]
fn the_tree_splits_at_the_largest_power_of_two() {
    let leaves: Vec<Digest> = (0..7).map(|n| Digest([n; 32])).collect();
    let node = |left: Digest, right: Digest| -> Digest {
        let bytes = [&[1], left.as_bytes(), right.as_bytes()].concat();
        Digest(Sha256::digest(bytes).into())
    };
    let of = |from: usize, to: usize| merkle_root(&leaves[from..to]);
    assert_eq!(of(0, 2), node(of(0, 1), of(1, 2)));
    assert_eq!(of(0, 3), node(of(0, 2), of(2, 3)));
    assert_eq!(of(0, 4), node(of(0, 2), of(2, 4)));
    assert_eq!(of(0, 5), node(of(0, 4), of(4, 5)));
    assert_eq!(of(0, 7), node(of(0, 4), of(4, 7)));
    assert_eq!(
        merkle_root(&[]).to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn the_content_digest_covers_key_and_body_and_nothing_else() {
    let digest = content_digest(&record()).unwrap();
    let mut elsewhere = record();
    elsewhere.salt = Salt([9; 16]);
    elsewhere.author = NodeId([9; 16]);
    elsewhere.stamp = stamp(9, 9);
    elsewhere.placement.domain = Domain::new("garden").unwrap();
    assert_eq!(content_digest(&elsewhere), Some(digest));
    let mut other_body = record();
    other_body.content = Content::Live(b"{\"a\":1}".to_vec().into());
    assert_ne!(content_digest(&other_body), Some(digest));
    let mut other_id = record();
    other_id.key.id = RecordId::new("n2").unwrap();
    assert_ne!(content_digest(&other_id), Some(digest));
}

#[test]
fn tombstones_and_the_hubs_own_kinds_have_no_content_digest() {
    let mut deleted = record();
    deleted.content = Content::Deleted;
    assert_eq!(content_digest(&deleted), None);
    for kind in ["view", "kind", "node", "policy", "operator", "conflict"] {
        let mut control = record();
        control.key.kind = Kind::new(kind).unwrap();
        assert_eq!(content_digest(&control), None, "{kind}");
    }
}
