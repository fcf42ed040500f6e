//! Processes that are killed, stopped and cut off under load. `ROUNDS=n` for longer runs, `SEED=s` for another draw,
//! `DB=sqlite|postgres` for one database alone.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    clippy::expect_used,
    reason = "tests, and they report what they did"
)]

#[path = "chaos/clocks.rs"]
mod clocks;
#[path = "chaos/damage.rs"]
mod damage;
#[path = "chaos/disputes.rs"]
mod disputes;
#[path = "chaos/network.rs"]
mod network;
#[path = "chaos/offline.rs"]
mod offline;
#[path = "chaos/planted.rs"]
mod planted;

use trials::asked::{number, one_of};
use trials::chaos::{Database, run};

/// Rounds of every test run, on each database.
const ROUNDS: usize = 8;

/// How many rounds are asked for on a database, and the seed; `None` where another database alone is.
fn asked_on(name: &str, rounds: usize) -> Option<(usize, u64)> {
    let only =
        one_of("DB", "sqlite, postgres", |only| ["sqlite", "postgres"].into_iter().find(|db| *db == only));
    let rounds = number("ROUNDS").and_then(|n| usize::try_from(n).ok()).unwrap_or(rounds);
    only.is_none_or(|only| only == name).then(|| (rounds, number("SEED").unwrap_or(1)))
}

fn rounds_on(database: Database, name: &str) {
    let Some((rounds, seed)) = asked_on(name, ROUNDS) else { return };
    let Some(verdict) = run(database, rounds, seed) else { return };
    println!("{name}: {}", verdict.of_reads());
    println!("{name}: {rounds} rounds, {verdict}");
    assert!(verdict.is_kept(), "{verdict:?} (seed {seed})");
}

#[test]
fn always_an_acknowledged_put_stands_once_and_in_order_on_sqlite() {
    rounds_on(Database::Sqlite, "sqlite");
}

#[test]
fn always_an_acknowledged_put_stands_once_and_in_order_on_postgres() {
    rounds_on(Database::Postgres, "postgres");
}
