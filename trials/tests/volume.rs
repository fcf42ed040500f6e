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
    let crowd = Crowd::open(&hub, &folder, "crowd", SESSIONS - SILENT, SILENT).await;
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
    let synced = tokio::task::spawn_blocking(move || {
        desktop.ok(&["sync", "--timeout", "600"]);
        desktop
    });
    while !synced.is_finished() {
        crowd.chatter();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let desktop = synced.await.expect("the reading spoke is in sync");
    let (seen, after) = (crowd.seen(), start.elapsed());
    println!(
        "after {after:.1?} every one of {} sessions was shown revision {seen} of {all}",
        SESSIONS - SILENT
    );
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

/// Turns of each kind: with a slow reader and without one, one after the other.
const TURNS: usize = 5;
/// Records that each turn brings, one after the other.
const PUTS: usize = 40;

/// The middle one of some measurements, and the largest.
fn middle_and_largest<T: Ord + Copy>(mut all: Vec<T>) -> (T, T) {
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() - 1])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of minutes"]
async fn one_slow_reader_among_500_changes_nothing_for_the_others() {
    let folder = Folder::new("slow-reader");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let _daemon = laptop.daemon();
    laptop.ok(&["sync"]);
    let crowd = Crowd::open(&hub, &folder, "crowd", SESSIONS - 1, 0).await;
    let text = "x".repeat(BODY_BYTES);
    let (mut took, mut memory) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for turn in 0..=2 * TURNS {
        let with = turn % 2;
        let slow = if with == 1 {
            Some(Crowd::open(&hub, &folder, &format!("slow-{turn}"), 0, 1).await)
        } else {
            None
        };
        let before = hub.process().resident_kib().expect("the system tells");
        let mut delivered = Vec::new();
        for n in 0..PUTS {
            slow.iter().for_each(Crowd::chatter);
            let body = format!(r#"{{"n":{n},"text":"{text}"}}"#);
            let start = now();
            laptop.ok(&["put", "note", &format!("t{turn}-{n}"), &body, "--wait", "durable"]);
            laptop.ok(&["sync"]);
            let to = revision(&laptop);
            while crowd.seen() < to {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            delivered.push(start.elapsed());
        }
        let after = hub.process().resident_kib().expect("the system tells");
        // The first turn warms everything up.
        if turn > 0 {
            took[with].extend(delivered);
            memory[with].push(after.saturating_sub(before));
        }
    }
    let [without, with] = took.map(middle_and_largest);
    let [grew_without, grew_with] = memory.map(middle_and_largest);
    println!(
        "a put to be seen by {} readers: {:.1?} in the middle, {:.1?} at most; beside a slow reader {:.1?} and {:.1?}",
        SESSIONS - 1,
        without.0,
        without.1,
        with.0,
        with.1
    );
    println!(
        "the hub grew in a turn by {} KiB in the middle, {} at most; beside a slow reader {} and {}",
        grew_without.0, grew_without.1, grew_with.0, grew_with.1
    );
    assert!(with.0 < without.0 * 2, "the others wait for it");
    assert!(grew_with.1 < grew_without.1 + 32 * 1_024, "the hub keeps what it does not read");
}
