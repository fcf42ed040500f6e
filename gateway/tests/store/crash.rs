//! What is left of a transaction that a crash ends: all of it, or nothing. The steps are taken on the model store too,
//! which says what each of them leaves.

use std::path::{Path, PathBuf};
use std::process::Command;

use gateway::store::memory::MemoryStore;
use gateway::store::postgres::PostgresStore;
use gateway::store::sqlite::{DATABASE_FILE, SqliteStore};
use gateway::store::{Space, Store};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};

use crate::model::answer;
use crate::model::step::{Call, Change, Commit, Step, Version};
use crate::support::postgres;
use crate::support::rows::{Log, cell, note, snapshot, tenant};

/// Where the process that is stopped has its store.
const FOLDER: &str = "CRASH_FOLDER";

/// Of the writes and syncs at which a process is stopped, one in so many.
const EVERY: usize = 2;

/// One transaction of each kind, each with work in every table that it writes.
fn steps() -> Vec<Step> {
    let put = |id: &str, domain: &str| {
        let (key, cell) = (note(id), cell(domain, "note", None));
        Change::Put { key, cell, bytes: 700 }
    };
    let first = [put("a", "d"), put("b", "d"), put("c", "d"), Change::Hold(1, true), Change::Hold(2, true)];
    let second = [put("a", "e"), Change::Delete(note("b")), Change::Reject, Change::Hold(1, false)];
    let commit = |changes: &[Change]| Commit { changes: changes.to_vec(), wrong: None };
    let put_plain = |value| Call::PlainPut { space: Space::Ack, key: b"k", value, version: Version::Present };
    let calls = [
        Call::Create,
        Call::Append(commit(&first)),
        Call::Section { commit: commit(&second), is_appended: true },
        Call::Append(commit(&[Change::Open(note("a")), Change::Writer { node: 3, closed: true }])),
        Call::Prune { rows: vec![1], tombstones: vec![(note("b"), None)], commits_below: 4 },
        put_plain(1),
        put_plain(2),
        Call::PlainDelete { space: Space::Ack, key: b"k", version: Version::Present },
        Call::Append(commit(&[put("d", "d")])),
    ];
    calls.map(|call| Step { tenant: 0, call }).to_vec()
}

/// All that a store holds, if the tenant is there.
async fn held(store: &dyn Store, log: &Log) -> Option<String> {
    store.head(&log.tenant).await.ok()?;
    Some(snapshot(store, &log.tenant).await)
}

/// The log before each step, and what the model holds then; the last is what all of them leave.
async fn expected() -> (Vec<Log>, Vec<Option<String>>) {
    let store = MemoryStore::new();
    let (mut logs, mut all) = (vec![Log::unmade(tenant("t"))], vec![None]);
    for step in steps() {
        let log = logs.last().unwrap();
        let (_, after) = answer::of(&store, log, &step).await;
        let next = after.unwrap_or_else(|| log.clone());
        all.push(held(&store, &next).await);
        logs.push(next);
    }
    (logs, all)
}

/// The process that is stopped: takes the steps, and says after each that it is done.
#[tokio::test]
#[ignore = "started by the test below"]
async fn a_process_that_takes_the_steps() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (logs, _) = expected().await;
    let store = SqliteStore::open(&folder).await.unwrap();
    for (log, step) in logs.iter().zip(steps()) {
        answer::of(&store, log, &step).await;
        eprintln!("step done");
    }
    store.close().await;
}

/// Runs the process above on a new store until its `at`th write or sync. How many steps it said were done, and
/// whether it was stopped.
fn stopped_at(at: u32, library: &Path, folder: &Path) -> (usize, bool) {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "crash::a_process_that_takes_the_steps", "--nocapture"])
        .env(FOLDER, folder)
        .env("LD_PRELOAD", library)
        .env("STOP_AT", at.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() || ran.status.code().is_none(), "{said}");
    (said.matches("step done").count(), !ran.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stops_at_any_write_leaves_whole_transactions() {
    let folder = std::env::temp_dir().join(format!("hubward-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("stop_at.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trials/native/stop_at.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl");
    assert!(cc.status().unwrap().success());
    let (logs, all) = expected().await;
    // The tables are there, so that what is counted is the steps.
    SqliteStore::open(&folder.join("new")).await.unwrap().close().await;
    let mut left_of = vec![0_u32; all.len()];
    for at in (1..).step_by(EVERY) {
        let data = folder.join(format!("at-{at}"));
        copy(&folder.join("new"), &data);
        let (done, is_stopped) = stopped_at(at, &library, &data);
        let store = SqliteStore::open(&data).await.unwrap();
        let left = held(&store, &logs[0]).await;
        // What was said is there; what was under way is there too, or nothing of it.
        let found = (done..=done + 1).find(|step| all.get(*step) == Some(&left));
        let found = found.unwrap_or_else(|| panic!("write {at}, {done} steps done: {left:?}"));
        left_of[found] += 1;
        store.close().await;
        drop(store);
        std::fs::remove_dir_all(&data).unwrap();
        if !is_stopped {
            break;
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!("left of each step {left_of:?}");
    assert!(left_of.iter().all(|times| *times > 0), "every step was stopped in: {left_of:?}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What ends a statement in SQLite: the transaction stands open behind the first, and is gone with the second.
const FAILS: [&str; 2] = ["abort", "rollback"];

#[tokio::test]
async fn an_append_that_fails_in_any_table_leaves_nothing_and_holds_nothing_up() {
    let folder = std::env::temp_dir().join(format!("hubward-fails-{}", std::process::id()));
    let store = SqliteStore::open(&folder).await.unwrap();
    let mut log = Log::create(&store, "t").await;
    let file = format!("sqlite:{}", folder.join(DATABASE_FILE).display());
    let mut beside = SqliteConnection::connect(&file).await.unwrap();
    for table in WRITES[8] {
        for fails in FAILS {
            let write = if *table == "heads" { "update" } else { "insert" };
            let trap = format!(
                "create trigger fails before {write} on {table} begin select raise({fails}, 'no'); end"
            );
            beside.execute(AssertSqlSafe(trap)).await.unwrap();
            let before = held(&store, &log).await;
            let drafts =
                [log.draft().put(&note("a"), b"no"), log.draft().put(&note("a"), b"no").hold(1, true)];
            for draft in drafts {
                assert!(store.append(&log.tenant, &draft.build().0).await.is_err(), "{table} {fails}");
                assert_eq!(held(&store, &log).await, before, "{table} {fails}");
            }
            beside.execute("drop trigger fails").await.unwrap();
            log.put_each(&store, &["a", "b"]).await;
        }
    }
    drop(beside);
    store.close().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

/// When the session that writes a row is ended: before it, or while the commit is made.
const MOMENTS: [(&str, &str); 2] = [("trigger", "before"), ("constraint trigger", "deferred")];

/// The tables that each of the steps writes.
const WRITES: [&[&str]; 9] = [
    &["heads"],
    &["heads", "commits", "log", "records", "writers", "cells", "held"],
    &["heads", "commits", "log", "records", "writers", "cells", "held"],
    &["heads", "commits", "records", "writers"],
    &["log", "records", "commits"],
    &["plain"],
    &["plain"],
    &["plain"],
    &["heads", "commits", "log", "records", "writers", "cells"],
];

fn trap(table: &str, (kind, moment): (&str, &str)) -> String {
    let (when, deferred) =
        if moment == "deferred" { ("after", "deferrable initially deferred") } else { (moment, "") };
    format!(
        "create {kind} ends {when} insert or update or delete on {table} {deferred} for each row \
         execute function ends()"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_in_any_table_leaves_nothing_of_its_transaction() {
    let Some(url) = postgres::url().await else { return eprintln!("SKIPPED: PostgreSQL is not available") };
    let store = PostgresStore::connect(&url).await.unwrap();
    let ends = "create function ends() returns trigger language plpgsql as \
                $$begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(9); return null; end$$";
    postgres::run(&url, &[ends]).await;
    let (logs, all) = expected().await;
    for (at, step) in steps().iter().enumerate() {
        for table in WRITES[at] {
            for moment in MOMENTS {
                postgres::run(&url, &[&trap(table, moment)]).await;
                let (answer, _) = answer::of(&store, &logs[at], step).await;
                postgres::run(&url, &[&format!("drop trigger ends on {table}")]).await;
                let is_told = ["Unavailable", "Unknown"].iter().any(|class| answer.contains(class));
                assert!(is_told, "step {at}, {moment:?} {table}: {answer}");
                assert_eq!(held(&store, &logs[at]).await, all[at], "step {at}, {moment:?} {table}");
            }
        }
        answer::of(&store, &logs[at], step).await;
        assert_eq!(held(&store, &logs[at]).await, all[at + 1], "step {at} goes through after all");
    }
    store.close().await;
}
