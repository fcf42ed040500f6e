//! Conflicts of clients that write the same records, settled and taken back under load.

use semantics::fault::{Fault, VARIABLE};
use trials::chaos::Database;
use trials::disputes::{Contender, KIND, declare, read, run};
use trials::fleet::{Hub, Spoke};
use trials::history::disputes::{Verdict, judge};
use trials::process::Folder;

fn rounds_on(database: Database, name: &str) {
    let Some((rounds, seed)) = crate::asked_on(name, crate::ROUNDS / 2) else { return };
    let Some(verdict) = run(database, rounds, seed) else { return };
    println!("{name}: {rounds} rounds of disputes, {verdict}");
    assert!(verdict.is_kept(), "{verdict:?} (seed {seed})");
}

#[test]
fn always_a_loser_is_listed_and_a_settlement_stands_once_on_sqlite() {
    rounds_on(Database::Sqlite, "sqlite");
}

#[test]
fn always_a_loser_is_listed_and_a_settlement_stands_once_on_postgres() {
    rounds_on(Database::Postgres, "postgres");
}

/// Two that write beside each other, and a settlement for the one that lost, taken back, at a hub that may be broken.
fn settled_and_taken_back(fault: Option<Fault>) -> Verdict {
    let folder = Folder::new("planted-undo");
    let mut hub = Hub::start(&folder, false, None);
    assert_eq!(hub.terminate(), 0);
    hub.set(VARIABLE, fault.map_or("", Fault::name));
    hub.restart();
    declare(&folder, &hub);
    let spokes = ["laptop", "desktop"].map(|name| Spoke::join(&folder, &hub, name));
    let [mut laptop, mut desktop] = spokes.each_ref().map(Contender::new);
    spokes.iter().for_each(|spoke| drop(spoke.ok(&["sync"])));
    laptop.write("d0");
    desktop.write("d0");
    for spoke in spokes.iter().chain(&spokes) {
        spoke.ok(&["sync"]);
    }
    assert!(spokes[0].body(KIND, "d0").is_some());
    laptop.settle_one();
    let deeds: Vec<_> = laptop.into_deeds().into_iter().chain(desktop.into_deeds()).collect();
    judge(&deeds, &read(&folder, &hub))
}

#[test]
fn an_undo_that_leaves_the_record_is_seen_by_who_reads_the_log() {
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no faults to plant");
        return;
    }
    let broken = settled_and_taken_back(Some(Fault::UndoLeavesRecord));
    assert!(broken.unrestored > 0, "{broken:?}");
    let whole = settled_and_taken_back(None);
    assert!(whole.is_kept(), "{whole:?}");
}
