//! How much goes through, and what memory it takes: figures to read, behind a flag.
//!
//!     cargo test --release --workspace --test volume -- --ignored --nocapture
#![allow(clippy::panic, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::fmt::Write as _;
use std::time::Instant;

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

#[test]
#[ignore = "a measurement of minutes"]
fn a_hundred_thousand_records_reach_an_empty_spoke() {
    let folder = Folder::new("volume");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let mut lines = String::new();
    for n in 0..RECORDS {
        let text = format!("{n:06} ").repeat((BODY_BYTES - 30) / 7);
        writeln!(lines, r#"{{"id":"r{n:06}","n":{n},"text":"{text}"}}"#).expect("a text grows");
    }
    let file = folder.at("records.jsonl");
    std::fs::write(&file, lines).expect("a file is written");

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
    println!(
        "peak resident: hub {} MiB, pushing spoke {} MiB, catching-up spoke {} MiB",
        peak_mib(hub.process()),
        peak_mib(&writer),
        peak_mib(&reader)
    );
    laptop.ok(&["sync"]);
    assert_eq!(revision(&laptop), revision(&desktop));
    assert_eq!(desktop.digest(), laptop.digest());
    assert_eq!(desktop.digest(), hub.digest("desktop"));
}
