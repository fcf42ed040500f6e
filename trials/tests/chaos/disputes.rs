//! Conflicts of clients that write the same records, settled and taken back under load.

use semantics::fault::{Fault, VARIABLE};
use trials::chaos::Database;
use trials::disputes::{Contender, KIND, RULED, declare, judged, run};
use trials::fleet::{Hub, Spoke};
use trials::history::disputes::Verdict;
use trials::history::rules::{Order, Ruled};
use trials::process::Folder;

fn rounds_on(database: Database, name: &str) {
    let Some((rounds, seed)) = crate::asked_on(name, crate::ROUNDS / 2) else { return };
    let Some((verdict, ruled)) = run(database, rounds, seed) else { return };
    println!("{name}: {rounds} rounds of disputes, {verdict}");
    println!("{name}: {ruled}");
    assert!(verdict.is_kept(), "{verdict:?} (seed {seed})");
    assert!(ruled.is_kept(), "{ruled:?} (seed {seed})");
}

#[test]
fn always_a_loser_is_listed_and_a_settlement_stands_once_on_sqlite() {
    rounds_on(Database::Sqlite, "sqlite");
}

#[test]
fn always_a_loser_is_listed_and_a_settlement_stands_once_on_postgres() {
    rounds_on(Database::Postgres, "postgres");
}

/// A hub that may be broken, and two spokes that know what is disputed.
fn world(folder: &Folder, fault: Option<Fault>) -> (Hub, [Spoke; 2]) {
    let mut hub = Hub::start(folder, false, None);
    assert_eq!(hub.terminate(), 0);
    hub.set(VARIABLE, fault.map_or("", Fault::name));
    hub.restart();
    declare(folder, &hub);
    let spokes = ["laptop", "desktop"].map(|name| Spoke::join(folder, &hub, name));
    spokes.iter().for_each(|spoke| drop(spoke.ok(&["sync"])));
    (hub, spokes)
}

fn told(folder: &Folder, hub: &Hub, contenders: [Contender<'_>; 2], orders: &[Order]) -> (Verdict, Ruled) {
    let deeds: Vec<_> = contenders.into_iter().flat_map(Contender::into_deeds).collect();
    let reader = Spoke::join(folder, hub, "reader");
    reader.ok(&["sync"]);
    judged(&deeds, orders, &reader, hub)
}

/// Two that write beside each other, and a settlement for the one that lost, taken back.
fn settled_and_taken_back(fault: Option<Fault>) -> Verdict {
    let folder = Folder::new("planted-undo");
    let (hub, spokes) = world(&folder, fault);
    let [laptop, desktop] = &spokes;
    let mut contenders = [Contender::new(laptop, 0), Contender::new(desktop, 1)];
    contenders.iter_mut().for_each(|contender| contender.write(KIND, "d0"));
    for spoke in spokes.iter().chain(&spokes) {
        spoke.ok(&["sync"]);
    }
    assert!(laptop.body(KIND, "d0").is_some());
    contenders[0].settle_one();
    told(&folder, &hub, contenders, &[]).0
}

/// Two that write what one of them alone writes.
fn written_by_one(fault: Option<Fault>) -> Ruled {
    let folder = Folder::new("planted-topology");
    let (hub, spokes) = world(&folder, fault);
    let set = ["topology", "set", "primary-replica", "--primary", "laptop", "--kind", RULED];
    let set = hub.admin(&set).json();
    let primary = hub.admin(&["topology", "show"]).json()["primaries"][0]["node"].as_str().map(str::to_owned);
    let order = Order::Primary(primary, set["revision"].as_u64().unwrap_or_default());
    let [laptop, desktop] = &spokes;
    let mut contenders = [Contender::new(laptop, 0), Contender::new(desktop, 1)];
    contenders.iter_mut().for_each(|contender| contender.write(RULED, "d0"));
    spokes.iter().for_each(|spoke| drop(spoke.ok(&["sync"])));
    told(&folder, &hub, contenders, &[order]).1
}

/// Whether there are faults to plant.
fn is_plantable() -> bool {
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no faults to plant");
    }
    cfg!(debug_assertions)
}

#[test]
fn an_undo_that_leaves_the_record_is_seen_by_who_reads_the_log() {
    if !is_plantable() {
        return;
    }
    let broken = settled_and_taken_back(Some(Fault::UndoLeavesRecord));
    assert!(broken.unrestored > 0, "{broken:?}");
    let whole = settled_and_taken_back(None);
    assert!(whole.is_kept(), "{whole:?}");
}

#[test]
fn a_topology_that_nobody_heeds_is_seen_by_who_reads_the_log() {
    if !is_plantable() {
        return;
    }
    let broken = written_by_one(Some(Fault::TopologyIgnored));
    assert_eq!((broken.primary, broken.trespassed, broken.unheard), (2, 1, 0), "{broken:?}");
    let whole = written_by_one(None);
    assert_eq!((whole.primary, whole.trespassed, whole.unheard), (1, 0, 0), "{whole:?}");
}
