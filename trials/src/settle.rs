//! The end of a run: everything has arrived everywhere, all hold the same, and the log is read.
#![allow(clippy::panic, clippy::expect_used, reason = "harness of tests: a panic is how a test fails")]

use crate::client::{listed, numbers};
use crate::fleet::{Hub, Spoke};
use crate::history::{Log, Row};
use crate::process::{Folder, until};

/// Superseded revisions that the hub keeps at least.
const REVISIONS_KEPT: u64 = 10_000;

/// Waits until everything has arrived everywhere, and gives the log's head.
///
/// # Panics
/// When replicas do not agree in the end.
#[must_use]
pub fn settle(hub: &Hub, spokes: &[Spoke]) -> u64 {
    for spoke in spokes.iter().chain(spokes) {
        until("a spoke has nothing left to send", || (spoke.run(&["sync"]).code == 0).then_some(()));
    }
    let first = spokes.first().expect("there are spokes");
    let (revision, digest) = first.digest();
    for spoke in spokes {
        assert_eq!(spoke.digest(), (revision, digest.clone()), "{} holds something else", spoke.name);
        let status = spoke.ok(&["status"]).json();
        assert_eq!(status["outbox"]["entries"].as_u64(), Some(0), "{status}");
    }
    assert_eq!(hub.digest(&first.name), (revision, digest), "the hub holds something else");
    revision
}

/// The log after a revision up to another, as a new spoke sees it: what stands, and of these records also what was.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn log(folder: &Folder, hub: &Hub, rewritten: &[String], (first, last): (u64, u64)) -> Log {
    let reader = Spoke::join(folder, hub, "reader");
    reader.ok(&["sync"]);
    let mut rows = Vec::new();
    for record in rewritten {
        let (kind, id) = record.split_once('/').expect("kind/id");
        let ran = reader.run(&["history", kind, id]);
        if ran.code != 0 {
            // Of what was never sent there is none.
            assert_eq!(ran.error()["error"]["reason"], "NOT_FOUND", "{ran:?}");
            continue;
        }
        let kept = ran.json();
        for row in kept["rows"].as_array().unwrap_or_else(|| panic!("{kept}")) {
            let revision = row["revision"].as_u64().unwrap_or_else(|| panic!("{row}"));
            let numbers = row.get("body").filter(|body| !body.is_null()).map(numbers);
            rows.push(Row { record: record.clone(), revision, numbers });
        }
    }
    for read in listed(&reader).into_iter().filter(|read| !rewritten.contains(&read.record)) {
        let Some(shown) = read.shown else { continue };
        let revision = shown.revision.unwrap_or_default();
        rows.push(Row { record: read.record, revision, numbers: Some(shown.numbers) });
    }
    let whole_after = first.max(last.saturating_sub(REVISIONS_KEPT));
    Log { rows, first, last, whole_after }
}
