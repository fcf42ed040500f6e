//! How much goes through, and what memory it takes: figures to read, behind a flag.
//!
//!     cargo test --release --workspace --test volume -- --ignored --nocapture
#![allow(clippy::panic, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use trials::crowd::Crowd;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Process};

/// Records that are imported.
const RECORDS: usize = 100_000;
/// Size of a record's body, about, bytes.
const BODY_BYTES: usize = 512;
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

fn peak_mib(process: &Process) -> u64 {
    process.peak_kib().expect("the system tells") / 1_024
}

fn revision(spoke: &Spoke) -> u64 {
    spoke.ok(&["status"]).json()["revision"].as_u64().unwrap_or_default()
}

/// Sessions that stand while the records go through.
const SESSIONS: usize = 500;
/// So many of them never read.
const SILENT: usize = 1;
/// Most memory of a hub, MiB.
const HUB_MIB_MAX: u64 = 512;
/// Most memory of a spoke, MiB.
const SPOKE_MIB_MAX: u64 = 256;
/// Longest time for all sessions to be shown everything.
const READ_WITHIN: Duration = Duration::from_secs(30 * 60);

/// Writes the records that are imported.
fn records(folder: &Folder) -> String {
    let mut lines = String::new();
    for n in 0..RECORDS {
        let text = format!("{n:06} ").repeat((BODY_BYTES - 30) / 7);
        writeln!(lines, r#"{{"id":"r{n:06}","n":{n},"text":"{text}"}}"#).expect("a text grows");
    }
    let file = folder.at("records.jsonl");
    std::fs::write(&file, lines).expect("a file is written");
    file
}

/// Prints the peaks and holds them to their bounds.
fn check_peaks(hub: &Hub, writer: &Process, reader: &Process) {
    let (hub, writer, reader) = (peak_mib(hub.process()), peak_mib(writer), peak_mib(reader));
    println!("peak resident: hub {hub} MiB, pushing spoke {writer} MiB, catching-up spoke {reader} MiB");
    assert!(hub <= HUB_MIB_MAX, "the hub took {hub} MiB");
    assert!(writer.max(reader) <= SPOKE_MIB_MAX, "the spokes took {writer} and {reader} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of minutes"]
async fn memory_has_its_bound_while_many_sessions_stand_and_one_never_reads() {
    let folder = Folder::new("crowd");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let file = records(&folder);
    let start = now();
    let crowd = Crowd::open(&hub, &folder, SESSIONS - SILENT, SILENT).await;
    println!("{SESSIONS} sessions stand after {:.1?}, hub {} MiB", start.elapsed(), peak_mib(hub.process()));
    let (writer, reader) = (laptop.daemon(), desktop.daemon());
    let start = now();
    let (all, pushed) = tokio::task::spawn_blocking(move || {
        laptop.ok(&["import", &file, "--kind", "note"]);
        laptop.ok(&["sync", "--timeout", "600"]);
        (revision(&laptop), start.elapsed())
    })
    .await
    .expect("the records are pushed");
    println!("imported and pushed in {pushed:.1?}, hub {} MiB", peak_mib(hub.process()));
    while crowd.seen() < all {
        crowd.chatter();
        assert!(start.elapsed() < READ_WITHIN, "of {all} revisions {} in {READ_WITHIN:?}", crowd.seen());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{} sessions were shown revision {all} after {:.1?}", SESSIONS - SILENT, start.elapsed());
    desktop.ok(&["sync", "--timeout", "600"]);
    assert_eq!(desktop.digest(), hub.digest("desktop"));
    check_peaks(&hub, &writer, &reader);
}

#[test]
#[ignore = "a measurement of minutes"]
fn a_hundred_thousand_records_reach_an_empty_spoke() {
    let folder = Folder::new("volume");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let file = records(&folder);

    let writer = laptop.daemon();
    let start = now();
    laptop.ok(&["import", &file, "--kind", "note"]);
    let imported = start.elapsed();
    let start = now();
    laptop.ok(&["sync"]);
    let pushed = start.elapsed();
    let start = now();
    let reader = desktop.daemon();
    desktop.ok(&["sync"]);
    let caught_up = start.elapsed();

    println!("import {imported:.1?}, push {pushed:.1?}, catch-up of an empty spoke {caught_up:.1?}");
    check_peaks(&hub, &writer, &reader);
    laptop.ok(&["sync"]);
    assert_eq!(revision(&laptop), revision(&desktop));
    assert_eq!(desktop.digest(), laptop.digest());
    assert_eq!(desktop.digest(), hub.digest("desktop"));
}
