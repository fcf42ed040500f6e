//! The test vectors of docs/protocol.md. They are made here from fixed inputs and must equal the file, which
//! trials/python/digest.py recomputes with code of its own. A change of them is a change of the protocol:
//! `WRITE_VECTORS=1 cargo test -p semantics --test vectors` writes the file anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use semantics::canonical::to_canonical;
use semantics::clock::{HybridTime, Stamp};
use semantics::digest::{
    CommitSummary, cell_digest, chain, commit_leaf, conflict_id, merged_salt, merkle_root, mutation_digest,
    record_digest,
};
use semantics::envelope::{
    Base, Cell, Content, FieldStamp, GroupPlace, KEY_ID_CLEAR, Mutation, Op, Placement, Record,
};
use semantics::export::ExportLine;
use semantics::ids::{
    CommitNumber, Digest, Domain, Dot, Facet, GroupId, Incarnation, Key, Kind, MutationId, NodeId, RecordId,
    Revision, Salt, Subject, Writer,
};
use semantics::lthash::LtHash;
use semantics::version::Version;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/digests.json");

#[test]
fn the_test_vectors_hold() {
    let made = vectors();
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(Path::new(FILE).parent().unwrap()).unwrap();
        std::fs::write(FILE, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(FILE).unwrap()).unwrap();
    let sections: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(sections, kept.as_object().unwrap().keys().collect::<Vec<_>>());
    for section in sections {
        assert_eq!(made[section], kept[section], "{section}");
    }
}

fn vectors() -> Value {
    json!({
        "canonical": canonical_vectors(),
        "mutations": mutations().into_iter().map(mutation_vector).collect::<Vec<_>>(),
        "records": records().iter().map(record_vector).collect::<Vec<_>>(),
        "conflict_ids": conflict_vectors(),
        "merged_salts": salt_vectors(),
        "merkle_roots": merkle_vectors(),
        "multisets": multiset_vectors(),
        "cells": cell_vectors(),
        "views": view_vectors(),
        "chains": chain_vector(),
    })
}

fn canonical_vectors() -> Vec<Value> {
    [
        r#"{"b":2,"a":1}"#,
        r#" { "numbers" : [333333333.33333329, 4.50, 2e-3, 1e-27, 1e-7, 0.000001, -0.0, 10e2, 5e-324, -1.5] } "#,
        r#"{"edges":[9007199254740991,-9007199254740991,123456789012345.67,0.1,100,1e15]}"#,
        r#"{"text":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/\u007f\u2028","nul":"\u0000\b\t\f\r"}"#,
        r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7,"":8}"#,
        r#"{"deep":[[],{},[{"z":null,"y":[true,false]}]]}"#,
    ]
    .into_iter()
    .map(|input| {
        let canonical = to_canonical(&serde_json::from_str(input).unwrap()).unwrap();
        json!({"input": input, "canonical_hex": hex::encode(canonical)})
    })
    .collect()
}

fn node(byte: u8) -> NodeId {
    NodeId([byte; 16])
}

fn dot(node_byte: u8, epoch: u32, n: u64) -> Dot {
    Dot { writer: Writer { node: node(node_byte), epoch }, n }
}

fn stamp(ms: u64, counter: u32, dot: Dot) -> Stamp {
    Stamp { time: HybridTime { ms, counter }, dot }
}

fn key(kind: &str, id: &str) -> Key {
    Key { kind: Kind::new(kind).unwrap(), id: RecordId::new(id).unwrap() }
}

fn placement(domain: &str, subject: Option<&str>) -> Placement {
    Placement { domain: Domain::new(domain).unwrap(), subject: subject.map(|s| Subject::new(s).unwrap()) }
}

fn mutations() -> Vec<(&'static str, Mutation)> {
    let put = Mutation {
        id: MutationId([0x11; 16]),
        dot: dot(0xa1, 1, 1),
        group: None,
        key: key("note", "n1"),
        op: Op::Put { body: br#"{"text":"hi"}"#.to_vec().into() },
        placement: None,
        incarnation: Incarnation(0),
        base: Base::default(),
        time: HybridTime { ms: 1_700_000_000_000, counter: 0 },
        written_ms: 1_700_000_000_000,
        author: node(0xa1),
        key_id: KEY_ID_CLEAR,
        salt: Salt([0x51; 16]),
        signature: None,
    };
    let patch = Mutation {
        id: MutationId([0x12; 16]),
        dot: dot(0xa1, 2, 258),
        group: Some(GroupPlace { id: GroupId([0x61; 16]), index: 1, size: 3 }),
        key: key("entity", "Fern \u{1f33f}\u{0}"),
        op: Op::Patch {
            set: br#"{"light":"shade","water":2}"#.to_vec().into(),
            remove: vec!["a".into(), "bc".into()],
        },
        placement: Some(placement("garden", Some("anna"))),
        incarnation: Incarnation(2),
        base: Base {
            version: Version::from_iter([dot(0xb2, 1, 7), dot(0xa1, 2, 257), dot(0xa1, 1, 9)]),
            revision: Revision(4711),
            own: Some(dot(0xa1, 2, 257)),
        },
        time: HybridTime { ms: 1_700_000_000_001, counter: 65_537 },
        written_ms: 1_699_999_999_999,
        signature: Some(vec![1, 2, 3]),
        ..put.clone()
    };
    let empty_patch = Mutation {
        op: Op::Patch { set: b"{}".to_vec().into(), remove: vec![String::new()] },
        placement: Some(placement("default", None)),
        ..put.clone()
    };
    let delete = Mutation { op: Op::Delete, dot: dot(0xa1, u32::MAX, u64::MAX), ..put.clone() };
    let sealed = Mutation { op: Op::Put { body: vec![0, 255, 128].into() }, key_id: 9, ..put.clone() };
    vec![
        ("put", put),
        ("patch in a group, with placement, subject, base and own dot; signature not hashed", patch),
        ("patch that removes the field with the empty name; placement without subject", empty_patch),
        ("delete with the greatest dot", delete),
        ("sealed put", sealed),
    ]
}

fn mutation_vector((name, m): (&'static str, Mutation)) -> Value {
    let mut fields = json!({
        "mutation_id": m.id, "dot": m.dot, "kind": m.key.kind, "id": m.key.id, "incarnation": m.incarnation,
        "base": {"version": m.base.version, "revision": m.base.revision},
        "time": m.time, "written_ms": m.written_ms, "author": m.author, "key_id": m.key_id, "salt": m.salt,
    });
    let op = match &m.op {
        Op::Put { body } => json!({"put": hex::encode(body)}),
        Op::Patch { set, remove } => json!({"set": hex::encode(set), "remove": remove}),
        Op::Delete => json!("delete"),
    };
    fields["op"] = op;
    if let Some(group) = &m.group {
        fields["group"] = json!(group);
    }
    if let Some(placement) = &m.placement {
        fields["domain"] = json!(placement.domain);
        if let Some(subject) = &placement.subject {
            fields["subject"] = json!(subject);
        }
    }
    if let Some(own) = m.base.own {
        fields["base"]["own"] = json!(own);
    }
    json!({"name": name, "mutation": fields, "digest": mutation_digest(&m)})
}

fn plain_record() -> Record {
    let written = stamp(1_700_000_000_000, 0, dot(0xa1, 1, 1));
    Record {
        key: key("note", "n1"),
        placement: placement("default", None),
        placement_stamp: written,
        facet: None,
        incarnation: Incarnation(0),
        version: Version::of(written.dot),
        stamp: written,
        author: node(0xa1),
        key_id: KEY_ID_CLEAR,
        salt: Salt([0x51; 16]),
        content: Content::Live(br#"{"text":"hi"}"#.to_vec().into()),
        fields: BTreeMap::new(),
        inputs: BTreeMap::new(),
    }
}

fn merged_record() -> Record {
    let first = stamp(1_700_000_000_000, 0, dot(0xb2, 1, 7));
    let second = stamp(1_700_000_000_000, 3, dot(0xa1, 2, 258));
    let third = stamp(1_700_000_000_500, 0, dot(0xa1, 1, 9));
    let inputs = BTreeMap::from([(first, Salt([1; 16])), (second, Salt([2; 16])), (third, Salt([3; 16]))]);
    Record {
        key: key("entity", "Fern \u{1f33f}\u{0}"),
        placement: placement("garden", Some("anna")),
        placement_stamp: second,
        facet: Some(Facet::new("shade").unwrap()),
        incarnation: Incarnation(2),
        version: Version::from_iter([first.dot, second.dot, third.dot]),
        stamp: third,
        salt: merged_salt(inputs.values().copied()),
        content: Content::Live(br#"{"height":0.25,"light":"shade","water":2}"#.to_vec().into()),
        fields: BTreeMap::from([
            ("height".to_owned(), FieldStamp { stamp: first, removed: false }),
            ("light".to_owned(), FieldStamp { stamp: second, removed: false }),
            ("water".to_owned(), FieldStamp { stamp: third, removed: false }),
            ("gone".to_owned(), FieldStamp { stamp: second, removed: true }),
        ]),
        inputs,
        ..plain_record()
    }
}

fn records() -> Vec<(&'static str, Record)> {
    let tombstone = Record { content: Content::Deleted, incarnation: Incarnation(1), ..plain_record() };
    let sealed = Record { content: Content::Live(vec![0, 255, 128].into()), key_id: 9, ..plain_record() };
    let other = Record { key: key("note", "n2"), ..plain_record() };
    vec![
        ("last writer", plain_record()),
        ("fields kind, merged from three mutations, with facet and subject", merged_record()),
        ("tombstone", tombstone),
        ("sealed body", sealed),
        ("another note", other),
    ]
}

fn record_vector((name, record): &(&'static str, Record)) -> Value {
    json!({"name": name, "record": ExportLine::of(record, Revision(1)), "digest": record_digest(record)})
}

fn conflict_vectors() -> Vec<Value> {
    [("note", "n1", "", dot(0xb2, 1, 7)), ("entity", "Fern \u{1f33f}\u{0}", "light", dot(0xa1, 2, 258))]
        .into_iter()
        .map(|(kind, id, path, dot)| {
            let conflict = conflict_id(&key(kind, id), path, dot);
            json!({"kind": kind, "id": id, "path": path, "first_loser": dot, "conflict_id": conflict})
        })
        .collect()
}

fn salt_vectors() -> Vec<Value> {
    [vec![], vec![Salt([1; 16])], vec![Salt([1; 16]), Salt([2; 16]), Salt([3; 16])]]
        .into_iter()
        .map(|salts| json!({"salts": salts, "salt": merged_salt(salts.iter().copied())}))
        .collect()
}

fn element(n: u8) -> Digest {
    Digest(Sha256::digest([n]).into())
}

fn elements(n: u8) -> Vec<Digest> {
    (0..n).map(element).collect()
}

fn merkle_vectors() -> Vec<Value> {
    [0, 1, 2, 3, 5, 8, 13]
        .into_iter()
        .map(|n| json!({"leaves": elements(n), "root": merkle_root(&elements(n))}))
        .collect()
}

fn multiset_vectors() -> Vec<Value> {
    [elements(0), elements(1), elements(5), vec![element(1), element(1)]]
        .into_iter()
        .map(|elements| {
            let state = LtHash::from_iter(&elements);
            let state_sha256 = hex::encode(Sha256::digest(state.as_bytes()));
            json!({"elements": elements, "state_sha256": state_sha256, "digest": state.finish()})
        })
        .collect()
}

fn cell_vectors() -> Vec<Value> {
    [(merged_record().cell(), elements(3)), (plain_record().cell(), elements(0))]
        .into_iter()
        .map(|(cell, elements): (Cell, Vec<Digest>)| {
            let digest = cell_digest(&cell, &LtHash::from_iter(&elements));
            let mut vector = json!({
                "domain": cell.domain, "kind": cell.kind, "elements": elements, "digest": digest,
            });
            if let Some(facet) = &cell.facet {
                vector["facet"] = json!(facet);
            }
            vector
        })
        .collect()
}

/// A tombstone counts nowhere; the cells are summed up one by one, as a hub does.
fn view_vectors() -> Vec<Value> {
    let all = records();
    [vec![0], vec![0, 1, 2, 4], vec![2]]
        .into_iter()
        .map(|chosen: Vec<usize>| {
            let mut cells: BTreeMap<Cell, LtHash> = BTreeMap::new();
            for (_, record) in chosen.iter().map(|at| &all[*at]).filter(|(_, r)| !r.is_deleted()) {
                cells.entry(record.cell()).or_default().add(&record_digest(record));
            }
            let mut sum = LtHash::empty();
            cells.values().for_each(|cell| sum.combine(cell));
            let names: Vec<&str> = chosen.iter().map(|at| all[*at].0).collect();
            json!({"records": names, "digest": sum.finish()})
        })
        .collect()
}

fn chain_vector() -> Vec<Value> {
    let summary = |commit, first, last, time_ms, horizon, n| CommitSummary {
        commit: CommitNumber(commit),
        first: Revision(first),
        last: Revision(last),
        time_ms,
        horizon: Revision(horizon),
        mutations_root: merkle_root(&elements(n)),
        records_root: merkle_root(&elements(n / 2)),
        cells_root: merkle_root(&elements(1)),
    };
    let mut previous = Digest::default();
    [
        summary(1, 1, 4, 1_700_000_000_000, 0, 5),
        summary(2, 5, 4, 1_700_000_000_000, 0, 1),
        summary(3, 5, u64::MAX, 1_700_000_000_900, 4, 8),
    ]
    .iter()
    .map(|summary| {
        let leaf = commit_leaf(summary);
        let next = chain(&previous, &leaf);
        let vector = json!({
            "commit": summary.commit, "first": summary.first, "last": summary.last,
            "time_ms": summary.time_ms, "horizon": summary.horizon,
            "mutations_root": summary.mutations_root, "records_root": summary.records_root,
            "cells_root": summary.cells_root, "previous": previous, "leaf": leaf, "chain": next,
        });
        previous = next;
        vector
    })
    .collect()
}
