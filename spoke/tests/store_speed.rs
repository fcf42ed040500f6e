//! How long the big transactions take on a file. Run by hand: `cargo test -p spoke --test store_speed -- --ignored
//! --nocapture`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use semantics::clock::{HybridTime, Stamp};
use semantics::cursor::{Change, Cut, Next, Page};
use semantics::envelope::{Content, Placement, Record};
use semantics::ids::{CommitNumber, Digest, Domain, Dot, Incarnation, LogId, NodeId, Revision, Salt, Writer};
use semantics::version::Version;
use serde_json::json;
use spoke::replica::Write;
use support::*;

const RECORDS: u64 = 100_000;

/// Ids in no order, as digests of something would be.
fn id(n: u64) -> String {
    format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn change(n: u64) -> Change {
    let dot = Dot { writer: Writer { node: NodeId([1; 16]), epoch: 1 }, n };
    let stamp = Stamp { time: HybridTime { ms: n, counter: 0 }, dot };
    let record = Record {
        key: key("note", &id(n)),
        placement: Placement { domain: Domain::default_domain(), subject: None },
        placement_stamp: stamp,
        facet: None,
        incarnation: Incarnation(0),
        version: Version::of(dot),
        stamp,
        author: NodeId([1; 16]),
        key_id: 0,
        salt: Salt([3; 16]),
        content: Content::Live(json!({"text": "x".repeat(500)}).to_string().into_bytes().into()),
        fields: Default::default(),
        inputs: Default::default(),
    };
    Change { revision: Revision(n), record }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_cut_of_many_staged_records_and_an_import_of_many_writes() {
    let scratch = store::Scratch::new();
    let file = Arc::new(spoke::replica::sqlite::SqliteReplica::open(&scratch.file()).await.unwrap());
    let replica = spoke::replica::Replica::open(file, identity(NODE, "here"), Arc::new(Counting::default()))
        .await
        .unwrap();

    let changes: Vec<Change> = (1..=RECORDS).map(change).collect();
    let start = now();
    for (at, changes) in changes.chunks(1000).enumerate() {
        replica.stage(changes.to_vec(), Vec::new(), &at.to_be_bytes()).await.unwrap();
    }
    println!("staged {RECORDS} records in {:?}", start.elapsed());
    let cursor = semantics::cursor::Cursor {
        log_id: LogId([1; 16]),
        commit: CommitNumber(RECORDS),
        revision: Revision(RECORDS),
        chain: Digest([0; 32]),
        view_revision: Revision::ZERO,
    };
    let cut = Cut { cursor, view: None, digest: None };
    let page = Page { changes: Vec::new(), departures: Vec::new(), next: Next::Cut(cut.clone()) };
    let start = now();
    replica.apply_cut(page, &cut).await.unwrap().unwrap();
    println!("cut of {RECORDS} staged records in {:?}", start.elapsed());
    let start = now();
    replica.confirmed_digest().await.unwrap();
    println!("digest of {RECORDS} records in {:?}", start.elapsed());

    let writes: Vec<Write> = (0..RECORDS)
        .map(|n| put("note", &format!("new {}", id(n)), json!({"text": "x".repeat(500)})))
        .collect();
    let start = now();
    replica.write_all(writes, NOW).await.unwrap();
    println!("import of {RECORDS} writes in {:?}", start.elapsed());
    let start = now();
    for n in 0..1000 {
        replica.write(put("note", &format!("one {n}"), json!({"n": n})), NOW).await.unwrap();
    }
    println!("1000 single writes in {:?}", start.elapsed());
    let start = now();
    for n in 1..=1000 {
        replica.get(&key("note", &id(n))).await.unwrap().unwrap();
    }
    println!("1000 reads in {:?}", start.elapsed());
}
