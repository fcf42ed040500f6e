//! The product broken on purpose, as real processes: what their clients do and see is enough to notice.

use std::fmt::Write as _;

use semantics::fault::{Fault, VARIABLE};
use serde_json::json;
use trials::client::{BOARD, Crew, Worker};
use trials::fleet::{Hub, Spoke};
use trials::history::{Client, Event, Read, Verdict, judge, judge_reads};
use trials::power::PowerCut;
use trials::process::{Folder, until};
use trials::proxy::Proxy;
use trials::settle::log;
use trials::sim::rng::Rng;

/// Records that make a catch-up long: several pages.
const FILLERS: usize = 1_900;
/// What delays every piece of it, milliseconds: slower where a busy machine came to look too late.
const SLOW_MS: [u64; 3] = [50, 200, 800];

/// Whether there is anything to plant: a release build has no faults.
fn is_debug() -> bool {
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no faults to plant");
    }
    cfg!(debug_assertions)
}

fn planted(fault: Option<Fault>) -> [(String, String); 1] {
    [(VARIABLE.to_owned(), fault.map_or("", Fault::name).to_owned())]
}

/// A hub that is broken, or not.
fn hub(folder: &Folder, fault: Option<Fault>) -> Hub {
    let mut hub = Hub::start(folder, false, None);
    assert_eq!(hub.terminate(), 0);
    for (name, value) in planted(fault) {
        hub.set(&name, &value);
    }
    hub.restart();
    hub
}

/// What a hub holds after a revision, beside what one client did.
fn judged(folder: &Folder, hub: &Hub, crew: &Crew, (client, first): (Client, u64)) -> Verdict {
    let last = hub.digest(&client.name).0;
    let clients = [client];
    judge(&clients, &log(folder, hub, &crew.rewritten(&clients), (first, last)))
}

/// The power of a hub is cut while a client writes.
fn over_a_power_cut(fault: Option<Fault>) -> Verdict {
    let folder = Folder::new("planted-power");
    let mut hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let (kind, id) = BOARD.split_once('/').expect("kind/id");
    laptop.ok(&["put", kind, id, "{}"]);
    laptop.ok(&["sync"]);
    let first = laptop.digest().0;
    assert_eq!(hub.terminate(), 0);
    let power = PowerCut::over(&folder.path().join("hub"));
    for (name, value) in power.environment().into_iter().chain(planted(fault)) {
        hub.set(&name, &value);
    }
    hub.restart();
    let crew = Crew::of(["laptop"]);
    let mut worker = Worker::new(&laptop, &crew, 0);
    let daemon = laptop.daemon();
    (0..8).for_each(|_| worker.step());
    laptop.ok(&["sync"]);
    hub.kill();
    let undone = power.cut();
    hub.restart();
    if fault.is_none() {
        until("everything is sent", || (laptop.run(&["sync"]).code == 0).then_some(()));
    }
    drop(daemon);
    println!("{undone} writes undone");
    judged(&folder, &hub, &crew, (worker.into_history(), first))
}

#[test]
fn an_answer_before_the_disk_has_it_is_a_lost_write_to_clients() {
    if !is_debug() {
        return;
    }
    let broken = over_a_power_cut(Some(Fault::NoFsync));
    println!("{broken}; {}", broken.of_reads());
    assert!(broken.lost > 0, "{broken:?}");
    let whole = over_a_power_cut(None);
    assert!(whole.is_kept(), "{whole:?}");
}

/// Declares a kind whose records need these fields.
fn declare(folder: &Folder, hub: &Hub, required: &[&str]) {
    let file = folder.at("task.json");
    let schema = json!({"type": "object", "required": required});
    let declaration = json!({"name": "task", "policy": "last_writer", "schema": schema});
    std::fs::write(&file, declaration.to_string()).expect("a file is written");
    assert_eq!(hub.admin(&["kind", "apply", "--tenant", "default", &file]).code, 0);
}

/// A client writes, and among it what the hub refuses by a rule that the spoke has not heard of yet.
fn with_a_refusal(fault: Option<Fault>) -> Verdict {
    let folder = Folder::new("planted-refused");
    let hub = hub(&folder, fault);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    declare(&folder, &hub, &[]);
    laptop.ok(&["sync"]);
    declare(&folder, &hub, &["title"]);
    let first = hub.digest("laptop").0;
    let crew = Crew::of(["laptop"]);
    let mut worker = Worker::new(&laptop, &crew, 0);
    worker.put("moment/before");
    laptop.ok(&["put", "task", "refused", "{}"]);
    worker.put("moment/after");
    laptop.ok(&["sync"]);
    let set_aside = laptop.ok(&["status"]).json()["outbox"]["set_aside"].clone();
    assert_eq!(set_aside, 1, "the hub has refused it");
    judged(&folder, &hub, &crew, (worker.into_history(), first))
}

#[test]
fn a_revision_used_up_by_a_refused_write_is_a_gap_to_clients() {
    if !is_debug() {
        return;
    }
    let broken = with_a_refusal(Some(Fault::RevisionFromSequence));
    println!("{broken}; {}", broken.of_reads());
    assert!(broken.doubled > 0, "{broken:?}");
    let whole = with_a_refusal(None);
    assert!(whole.is_kept(), "{whole:?}");
}

/// Writes many records of which no history is kept, and sends them.
fn fill(folder: &Folder, spoke: &Spoke) {
    let mut rng = Rng::new(1);
    let mut lines = String::new();
    for n in 0..FILLERS {
        // Nothing that a compression could make small.
        let text: String = (0..16).map(|_| format!("{:016x}", rng.below(u64::MAX))).collect();
        let _ = writeln!(lines, "{{\"id\":\"f{n:05}\",\"text\":\"{text}\"}}");
    }
    let file = folder.at("fillers.jsonl");
    std::fs::write(&file, lines).expect("a file is written");
    spoke.ok(&["import", &file, "--kind", "note"]);
    spoke.ok(&["sync"]);
}

/// A spoke behind a slow network.
fn far(folder: &Folder, hub: &Hub, slow_ms: u64) -> (Proxy, Spoke) {
    let proxy = Proxy::before(&hub.address());
    let spoke = Spoke::join_at(folder, hub, &[format!("https://{}", proxy.address())], "desktop");
    proxy.slow(slow_ms);
    (proxy, spoke)
}

/// A client writes at a spoke whose first catch-up is under way.
fn during_a_catch_up(fault: Fault, slow_ms: u64) -> Verdict {
    let folder = Folder::new("planted-catch-up");
    let hub = hub(&folder, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    fill(&folder, &laptop);
    let (_proxy, desktop) = far(&folder, &hub, slow_ms);
    let _daemon = desktop.daemon_in(&planted(Some(fault)));
    let crew = Crew::of(["desktop"]);
    let mut worker = Worker::new(&desktop, &crew, 0);
    let records: Vec<String> = (0..4).map(|n| format!("note/{n}")).collect();
    records.iter().for_each(|record| worker.put(record));
    let last = format!("f{:05}", FILLERS - 1);
    until("the catch-up is over, or something is wrong", || {
        worker.look(&records);
        let is_over = desktop.body("note", &last).is_some();
        let found = judge_reads(std::slice::from_ref(worker.history()));
        (is_over || found.unread + found.back > 0).then_some(())
    });
    worker.look(&records);
    judge_reads(&[worker.into_history()])
}

#[test]
fn an_entry_dropped_at_its_answer_is_a_write_that_its_client_cannot_read() {
    if !is_debug() {
        return;
    }
    let is_caught = |slow_ms: u64| {
        let broken = during_a_catch_up(Fault::EntryDroppedAtAnswer, slow_ms);
        println!("{slow_ms} ms: {}", broken.of_reads());
        broken.unread + broken.back > 0
    };
    assert!(SLOW_MS.into_iter().any(is_caught));
}

/// A reader looks around while its first catch-up is under way: two writes, far apart in the log since the first
/// was made anew in the end.
fn while_pages_come(fault: Fault, slow_ms: u64) -> Verdict {
    let folder = Folder::new("planted-pages");
    let hub = hub(&folder, Some(fault));
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let crew = Crew::of(["laptop", "desktop"]);
    let mut writer = Worker::new(&laptop, &crew, 0);
    for record in ["note/first", "moment/second"] {
        writer.put(record);
        laptop.ok(&["sync"]);
    }
    fill(&folder, &laptop);
    writer.put("note/first");
    laptop.ok(&["sync"]);
    let (_proxy, desktop) = far(&folder, &hub, slow_ms);
    let _daemon = desktop.daemon();
    let mut reader = Worker::new(&desktop, &crew, 1);
    let histories = |reader: &Worker<'_>| [writer.history().clone(), reader.history().clone()];
    until("the catch-up is over, or something is wrong", || {
        reader.look(&["moment/second".to_owned(), "note/first".to_owned()]);
        let is_last = match reader.history().events.last() {
            Some(Event::Read(Read { shown: Some(shown), .. })) => shown.numbers.get("laptop") == Some(&3),
            _ => false,
        };
        (is_last || judge_reads(&histories(&reader)).uncaused > 0).then_some(())
    });
    judge_reads(&histories(&reader))
}

#[test]
fn a_page_that_ends_as_if_it_were_a_cut_shows_clients_an_effect_without_its_cause() {
    if !is_debug() {
        return;
    }
    let is_caught = |slow_ms: u64| {
        let broken = while_pages_come(Fault::PageEndAsCursor, slow_ms);
        println!("{slow_ms} ms: {}", broken.of_reads());
        broken.uncaused > 0
    };
    assert!(SLOW_MS.into_iter().any(is_caught));
}
