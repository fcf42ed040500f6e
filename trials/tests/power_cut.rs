//! Runs in which the machine loses its power: what no fsync covered is gone, what was acknowledged is not.
#![allow(clippy::panic, clippy::expect_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;
use std::process::Command;

use semantics::fault::{Fault, VARIABLE};
use serde_json::json;
use trials::fleet::{Hub, Spoke};
use trials::power::PowerCut;
use trials::process::{Folder, until};

/// Puts of each stream.
const PUTS: usize = 2_000;
/// Power cuts in each run.
const CUTS: usize = 6;

#[test]
fn a_cut_takes_what_was_not_synced_and_nothing_else() {
    let folder = Folder::new("power-self");
    let power = PowerCut::over(&folder.path().join("disk"));
    std::fs::write(folder.at("new"), "new").expect("a file is written");
    for (name, synced) in [("synced", true), ("unsynced", false)] {
        let file = folder.at(&format!("disk/{name}"));
        std::fs::write(&file, "old content").expect("a file is written");
        let arguments = [format!("if={}", folder.at("new")), format!("of={file}"), "conv=notrunc".to_owned()];
        let mut dd = Command::new("dd");
        dd.args(arguments).args(synced.then_some("conv=fsync")).envs(power.environment());
        assert!(dd.output().expect("dd runs").status.success());
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "new content");
    }
    assert_eq!(power.cut(), 1);
    let read = |name: &str| std::fs::read_to_string(folder.at(&format!("disk/{name}"))).expect("a file");
    assert_eq!((read("synced").as_str(), read("unsynced").as_str()), ("new content", "old content"));
}

/// A stream of puts from one spoke to another through a hub whose power is cut again and again. Says what was lost.
fn cut_the_hub(folder: &Folder, fault: Option<Fault>) -> Result<(), String> {
    let mut hub = Hub::start(folder, false, None);
    let (laptop, desktop) = (Spoke::join(folder, &hub, "laptop"), Spoke::join(folder, &hub, "desktop"));
    let lines: String = (0..PUTS).map(|n| format!("{{\"id\":\"r{n:05}\",\"n\":{n}}}\n")).collect();
    let file = folder.at("stream.jsonl");
    std::fs::write(&file, lines).expect("a file is written");
    laptop.ok(&["import", &file, "--kind", "note"]);
    assert_eq!(hub.terminate(), 0);

    let power = PowerCut::over(&folder.path().join("hub"));
    for (name, value) in power.environment() {
        hub.set(&name, &value);
    }
    if let Some(fault) = fault {
        hub.set(VARIABLE, fault.name());
    }
    hub.restart();
    let (_a, _b) = (laptop.daemon(), desktop.daemon());
    let mut undone = 0;
    for cut in 1..=CUTS {
        until("more has arrived", || (desktop.ids("note").len() > cut * PUTS / (CUTS + 3)).then_some(()));
        hub.kill();
        undone += power.cut();
        hub.restart();
        for spoke in [&laptop, &desktop] {
            let synced = spoke.run(&["sync"]);
            if synced.code != 0 && synced.stderr.contains("LOG_FORKED") {
                return Err(format!("after {undone} undone writes {} says {}", spoke.name, synced.stderr));
            }
        }
    }
    println!("{undone} writes undone in {CUTS} power cuts");
    until("everything has arrived", || (desktop.ids("note").len() == PUTS).then_some(()));
    laptop.ok(&["sync"]);
    desktop.ok(&["sync"]);
    assert_eq!(laptop.digest(), desktop.digest());
    assert_eq!(laptop.digest(), hub.digest("laptop"));
    let listed = desktop.run(&["ls", "note"]).json();
    let records = listed["records"].as_array().expect("a list");
    let revisions: BTreeSet<u64> = records.iter().filter_map(|record| record["revision"].as_u64()).collect();
    let (first, last) = (revisions.first().expect("one"), revisions.last().expect("one"));
    assert_eq!(revisions.len(), PUTS, "a revision stands twice");
    assert_eq!(Ok(PUTS), usize::try_from(last - first + 1), "revisions are not dense");
    Ok(())
}

#[test]
fn a_power_cut_of_the_hub_loses_no_acknowledged_put() {
    assert_eq!(cut_the_hub(&Folder::new("power-hub"), None), Ok(()));
}

#[test]
fn a_hub_that_does_not_sync_is_found_by_a_power_cut() {
    let lost = cut_the_hub(&Folder::new("power-hub-fault"), Some(Fault::NoFsync));
    println!("{lost:?}");
    assert!(lost.is_err(), "the power cut took nothing");
}

/// Puts through a daemon whose power is cut again and again. Gives what was confirmed, and what is there at the end.
fn cut_the_spoke(folder: &Folder, fault: Option<Fault>) -> (BTreeSet<String>, BTreeSet<String>) {
    let hub = Hub::start(folder, false, None);
    let laptop = Spoke::join(folder, &hub, "laptop");
    laptop.ok(&["sync"]);
    let power = PowerCut::over(&folder.path().join("laptop"));
    let mut environment = power.environment().to_vec();
    environment.extend(fault.map(|fault| (VARIABLE.to_owned(), fault.name().to_owned())));
    let mut confirmed = BTreeSet::new();
    for round in 0..CUTS {
        let daemon = laptop.daemon_in(&environment);
        for n in 0..10 {
            let id = format!("k{round}-{n}");
            laptop.ok(&["put", "note", &id, &json!({"n": n}).to_string()]);
            confirmed.insert(id);
        }
        daemon.kill();
        let _ = power.cut();
    }
    let found = laptop.ids("note").into_iter().collect();
    laptop.ok(&["sync"]);
    assert_eq!(laptop.digest(), hub.digest("laptop"));
    (confirmed, found)
}

#[test]
fn a_power_cut_of_a_spoke_loses_no_confirmed_put() {
    let (confirmed, found) = cut_the_spoke(&Folder::new("power-spoke"), None);
    assert_eq!(found, confirmed);
}

#[test]
fn a_spoke_that_does_not_sync_is_found_by_a_power_cut() {
    let (confirmed, found) = cut_the_spoke(&Folder::new("power-spoke-fault"), Some(Fault::NoFsync));
    assert!(found.len() < confirmed.len(), "the power cut took nothing");
}
