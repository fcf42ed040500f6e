//! What only a file can suffer: kills, damage, strangers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "store_file/anew.rs"]
mod anew;
mod support;

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use semantics::ids::NodeId;
use semantics::reason::{Reason, Refusal};
use serde_json::json;
use spoke::error::StoreError;
use spoke::replica::sqlite::SqliteReplica;
use spoke::replica::store::{Mode, Range, ReplicaStore};
use spoke::replica::{Greeting, Replica};
use support::store::Scratch;
use support::*;

async fn replica(file: &Path) -> (Arc<SqliteReplica>, Replica) {
    let store = Arc::new(SqliteReplica::open(file).await.unwrap());
    let entropy = Arc::new(Counting(1.into()));
    let shared: Arc<dyn ReplicaStore> = store.clone();
    let replica = Replica::open(shared, identity(NODE, "here"), entropy).await.unwrap();
    (store, replica)
}

/// The file as SQLite has it, for what no replica would do to it.
async fn sqlite(scratch: &Scratch) -> sqlx::SqlitePool {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(scratch.file());
    sqlx::SqlitePool::connect_with(options).await.unwrap()
}

/// A closed file with one confirmed note.
async fn confirmed_note(scratch: &Scratch, hub: &mut Hub) {
    let (store, replica) = replica(&scratch.file()).await;
    replica.write(put("note", "n", json!({"text": "find me"})), NOW).await.unwrap();
    sync(&replica, hub).await;
    store.close().await;
}

/// Changes bytes of the file where this text stands, be it in a row or in space that a row left.
fn alter(file: &Path, text: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    for at in &found {
        bytes[*at..*at + to.len()].copy_from_slice(to);
    }
    assert_ne!(found.len(), 0);
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn what_much_at_once_left_in_the_log_is_brought_into_the_file() {
    let scratch = Scratch::new();
    let (_store, replica) = replica(&scratch.file()).await;
    let log_bytes =
        || std::fs::metadata(scratch.file().with_extension("sqlite-wal")).map_or(0, |log| log.len());
    let text = "long ".repeat(10_000);
    let mut bulk = replica.bulk(NOW).await.unwrap();
    for n in 0..400 {
        let outcomes =
            bulk.write(vec![put("note", &format!("{n}"), json!({"n": n, "text": text}))]).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
    }
    bulk.commit().await.unwrap();
    assert!(log_bytes() < 1_000_000, "{} bytes", log_bytes());
    assert_eq!(replica.page(&Range::default(), 1000).await.unwrap().len(), 400);
}

#[tokio::test]
async fn a_copy_of_file_and_log_taken_at_any_commit_holds_what_was_committed() {
    let scratch = Scratch::new();
    let (_store, replica) = replica(&scratch.file()).await;
    for n in 0..20 {
        replica.write(put("note", &format!("{n}"), json!({"n": n})), NOW).await.unwrap();
        let copy = Scratch::copy_of(&scratch);
        let (copied, copied_replica) = self::replica(&copy.file()).await;
        assert_eq!(copied_replica.page(&Range::default(), 100).await.unwrap().len(), n + 1);
        assert_eq!(copied_replica.changes_end().await.unwrap(), u64::try_from(n).unwrap() + 1);
        assert_eq!(copied.check().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_log_cut_short_by_a_power_cut_is_read_up_to_its_last_whole_commit() {
    let scratch = Scratch::new();
    let (_store, replica) = replica(&scratch.file()).await;
    replica.write(put("note", "a", json!({})), NOW).await.unwrap();
    let whole = std::fs::metadata(scratch.0.join("replica.sqlite-wal")).unwrap().len();
    replica.write(put("note", "b", json!({})), NOW).await.unwrap();
    let torn = Scratch::copy_of(&scratch);
    let log = std::fs::File::options().write(true).open(torn.0.join("replica.sqlite-wal")).unwrap();
    log.set_len(whole + 100).unwrap();
    let (_torn_store, torn_replica) = self::replica(&torn.file()).await;
    assert!(body(&torn_replica, "note", "a").await.is_some());
    assert!(body(&torn_replica, "note", "b").await.is_none());
    assert_eq!(torn_replica.status().await.unwrap().outbox.entries, 1);
}

/// Bytes of a write-ahead log's header, and of each of its frames: a header and a page.
const LOG_HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + 4_096;
/// Writes after which SQLite has certainly emptied its log into the file.
const WRITES_MAX: u64 = 2_000;

#[tokio::test]
async fn a_log_in_which_a_bit_flipped_before_its_last_commit_is_refused_and_left_as_it_is() {
    let scratch = Scratch::new();
    let (store, replica) = replica(&scratch.file()).await;
    for n in 0..4 {
        replica.write(put("note", &format!("{n}"), json!({"n": n})), NOW).await.unwrap();
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let log = std::fs::read(scratch.0.join("replica.sqlite-wal")).unwrap();
    let frames: Vec<&[u8]> =
        log[LOG_HEADER_BYTES..].as_chunks::<FRAME_BYTES>().0.iter().map(<[u8; _]>::as_slice).collect();
    // A frame that ends a commit says how long the file is then.
    let is_commit = |frame: &&[u8]| frame[4..8] != [0; 4];
    let last = frames.len() - 1;
    let begins_last = frames[..last].iter().rposition(is_commit).unwrap() + 1;
    let mut refused = 0;
    for (n, at) in [8, 16, 24 + 2_000].into_iter().flat_map(|at| (0..=last).map(move |n| (n, at))) {
        let copy = Scratch::copy_of(&scratch);
        let path = copy.0.join("replica.sqlite-wal");
        let mut damaged = log.clone();
        damaged[LOG_HEADER_BYTES + n * FRAME_BYTES + at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        match SqliteReplica::open(&copy.file()).await {
            Err(StoreError::Corrupt { what: "write-ahead log", detail }) => {
                assert!(detail.contains(&format!("frame {}", n + 1)), "{detail}");
                assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing of it is gone");
                refused += 1;
            }
            Ok(store) => {
                assert!(n >= begins_last, "frame {} of {}, byte {at}", n + 1, frames.len());
                store.close().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 3 * begins_last);
    // Its header, without which SQLite reads nothing of it.
    let copy = Scratch::copy_of(&scratch);
    let mut damaged = log;
    damaged[17] ^= 4;
    std::fs::write(copy.0.join("replica.sqlite-wal"), &damaged).unwrap();
    let opened = SqliteReplica::open(&copy.file()).await;
    assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "{opened:?}");
    std::fs::remove_file(copy.0.join("replica.sqlite-wal")).unwrap();
    assert!(SqliteReplica::open(&copy.file()).await.is_ok(), "moved away, it is in nobody's way");
    // Who asks while the file is open is told as well, before it comes to a new start.
    let file = std::fs::File::options().write(true).open(scratch.0.join("replica.sqlite-wal")).unwrap();
    let checksum = LOG_HEADER_BYTES + 16;
    file.write_all_at(&[!damaged[checksum]], u64::try_from(checksum).unwrap()).unwrap();
    let found = store.check().await.unwrap();
    assert!(found.iter().any(|finding| finding.contains("write-ahead log")), "{found:?}");
}

#[tokio::test]
async fn a_log_that_begins_anew_over_an_older_round_of_itself_is_read() {
    let scratch = Scratch::new();
    let (_store, replica) = replica(&scratch.file()).await;
    let header = || std::fs::read(scratch.0.join("replica.sqlite-wal")).unwrap()[..LOG_HEADER_BYTES].to_vec();
    let mut written = 0;
    let mut write = async || {
        replica.write(put("note", &format!("{written}"), json!({"n": written})), NOW).await.unwrap();
        written += 1;
        written
    };
    write().await;
    let first = header();
    let mut count = 0;
    while header() == first && count < WRITES_MAX {
        count = write().await;
    }
    assert_ne!(header(), first, "the log did not begin anew in {count} writes");
    for _ in 0..3 {
        let copy = Scratch::copy_of(&scratch);
        let (_copied, copied_replica) = self::replica(&copy.file()).await;
        assert_eq!(copied_replica.changes_end().await.unwrap(), count);
        count = write().await;
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_body_shows_in_the_digest() {
    let (scratch, mut hub) = (Scratch::new(), Hub::default());
    confirmed_note(&scratch, &mut hub).await;
    alter(&scratch.file(), b"find me", b"fine me");
    let (_store, replica) = replica(&scratch.file()).await;
    assert_ne!(replica.confirmed_digest().await.unwrap().1, hub.digest());
    replica.rebootstrap().await.unwrap();
    pull(&replica, &hub).await;
    assert_eq!(replica.confirmed_digest().await.unwrap().1, hub.digest());
}

#[tokio::test]
async fn a_row_that_cannot_be_understood_is_named() {
    let (scratch, mut hub) = (Scratch::new(), Hub::default());
    confirmed_note(&scratch, &mut hub).await;
    // The length before the body.
    let text = [&[18_u8][..], br#"{"text":"find me"}"#].concat();
    alter(&scratch.file(), &text, &[120]);
    let (_store, replica) = replica(&scratch.file()).await;
    let refusal = replica.get(&key("note", "n")).await.unwrap_err().refusal();
    assert_eq!(refusal.reason, Reason::StoreCorrupt);
    assert!(refusal.detail.contains("note/n"), "{refusal}");
}

#[tokio::test]
async fn a_file_that_is_no_replica_is_called_so() {
    let scratch = Scratch::new();
    std::fs::write(scratch.file(), "no database at all, but long enough to be one ".repeat(100)).unwrap();
    let error = SqliteReplica::open(&scratch.file()).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { what: "file", .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_no_empty_replica() {
    let scratch = Scratch::new();
    let (store, replica) = replica(&scratch.file()).await;
    let writes = (0..500).map(|n| put("note", &format!("{n}"), json!({"text": "x".repeat(300)}))).collect();
    replica.write_all(writes, NOW).await.unwrap();
    drop(replica);
    store.close().await;
    let mut bytes = std::fs::read(scratch.file()).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x5a);
    std::fs::write(scratch.file(), bytes).unwrap();
    let Ok(store) = SqliteReplica::open(&scratch.file()).await else { return };
    match store.check().await {
        Ok(found) => assert_ne!(found, Vec::<String>::new()),
        Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{error}"),
    }
}

#[tokio::test]
async fn an_unsent_write_in_which_a_byte_flipped_is_neither_shown_nor_sent() {
    let (scratch, mut hub) = (Scratch::new(), Hub::default());
    let (store, replica) = replica(&scratch.file()).await;
    greet(&replica, &mut hub).await;
    replica.write(put("note", "n", json!({"text": "find me"})), NOW).await.unwrap();
    drop(replica);
    store.close().await;
    alter(&scratch.file(), b"find me", b"fine me");
    let (store, replica) = self::replica(&scratch.file()).await;
    for error in [
        replica.get(&key("note", "n")).await.unwrap_err(),
        replica.next_push(NOW).await.unwrap_err(),
        replica.write(put("note", "n", json!({"text": "over it"})), NOW).await.unwrap_err(),
    ] {
        assert_eq!(error.refusal().reason, Reason::StoreCorrupt, "{error}");
    }
    let found = store.check().await.unwrap();
    assert!(found.iter().any(|finding| finding.contains("outbox")), "{found:?}");
    assert_eq!(replica.examine().await.unwrap().store, found);
}

#[tokio::test]
async fn a_write_that_its_lists_do_not_hold_as_it_stands_is_found() {
    let scratch = Scratch::new();
    let (store, replica) = replica(&scratch.file()).await;
    replica.write(put("note", "n", json!({})), NOW).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
    for (sql, says) in [
        ("update outbox set state = 3", "is listed as another"),
        ("update outbox set state = 0, place = place + 1", "is listed as another"),
        ("update outbox set place = place - 1", ""),
        ("update outbox_totals set queued = 0", "sums"),
    ] {
        let pool = sqlite(&scratch).await;
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
        let (store, _) = self::replica(&scratch.file()).await;
        let found = store.check().await.unwrap();
        assert_eq!(found.len(), usize::from(!says.is_empty()), "{sql}: {found:?}");
        assert!(found.iter().all(|finding| finding.contains(says)), "{sql}: {found:?}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_row_that_is_missing_from_an_index_is_found() {
    let scratch = Scratch::new();
    let (store, replica) = replica(&scratch.file()).await;
    replica.write(put("note", "n", json!({})), NOW).await.unwrap();
    store.close().await;
    // The index as it was when the outbox was empty.
    let pool = sqlite(&scratch).await;
    let mut connection = pool.acquire().await.unwrap();
    for sql in [
        "pragma writable_schema = on",
        "update sqlite_schema set sql = replace(sql, 'state = 0', 'state = 9') where name = 'outbox_queued'",
        "pragma writable_schema = reset",
        "reindex outbox_queued",
        "pragma writable_schema = on",
        "update sqlite_schema set sql = replace(sql, 'state = 9', 'state = 0') where name = 'outbox_queued'",
        "pragma writable_schema = reset",
    ] {
        sqlx::query(sql).execute(&mut *connection).await.unwrap();
    }
    drop(connection);
    pool.close().await;
    let (store, replica) = self::replica(&scratch.file()).await;
    assert_eq!(replica.status().await.unwrap().outbox.queued, 1);
    let found = store.check().await.unwrap();
    assert!(found.iter().any(|finding| finding.contains("outbox_queued")), "{found:?}");
}

#[tokio::test]
async fn a_catch_up_that_an_older_version_began_begins_again() {
    let scratch = Scratch::new();
    let mut hub = Hub::default();
    confirmed_note(&scratch, &mut hub).await;
    // The file as the version before left it in the middle of a catch-up.
    let pool = sqlite(&scratch).await;
    for sql in [
        "delete from _sqlx_migrations where version >= 4",
        "delete from meta where name = 'cursor'",
        "insert into meta values ('resume', x'0102')",
        "drop table arrived",
        "insert into staging values (cast('note' as blob) || x'00' || cast('m' as blob), 9, 1, x'00')",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let (_, replica) = replica(&scratch.file()).await;
    let Greeting::Hello(hello) = replica.prepare_hello(1).await.unwrap() else { panic!("no hello") };
    assert_eq!(hello.resume, None);
    pull(&replica, &hub).await;
}

/// Columns, indexes with their columns, and triggers of a table, whatever their names are.
async fn shape(pool: &sqlx::SqlitePool, table: &str) -> Vec<String> {
    let mut shape = Vec::new();
    for sql in [
        "select format('column %d %s %s %d %s %d %d', cid, name, type, \"notnull\", dflt_value, pk, hidden) \
         from pragma_table_xinfo($1) order by cid",
        "select format('index %d %s %d: %d %s %d %s %d', i.\"unique\", i.origin, i.partial, c.seqno, c.name, c.desc, c.coll, c.key) \
         from pragma_index_list($1) i join pragma_index_xinfo(i.name) c order by 1",
        "select format('%s %s', type, sql) from sqlite_schema where tbl_name = $1 and sql is not null and type <> 'table' \
         order by 1",
        "select format('table %d %d', wr, strict) from pragma_table_list where schema = 'main' and name = $1",
    ] {
        shape.extend(sqlx::query_scalar::<_, String>(sql).bind(table).fetch_all(pool).await.unwrap());
    }
    shape
}

#[tokio::test]
async fn the_tables_that_change_places_have_one_shape() {
    let scratch = Scratch::new();
    let (store, _) = replica(&scratch.file()).await;
    let pool = sqlite(&scratch).await;
    for round in 0..3 {
        let confirmed = shape(&pool, "confirmed").await;
        assert!(confirmed.len() >= 6, "four columns, the key's index, the table: {confirmed:?}");
        assert_eq!(shape(&pool, "arrived").await, confirmed, "after {round} swaps");
        let mut txn = store.begin(Mode::Write).await.unwrap();
        txn.staging_confirm().await.unwrap();
        txn.commit().await.unwrap();
    }
    // What would make them two shapes is seen.
    for sql in ["create index more on arrived (revision)", "alter table confirmed add column more blob"] {
        let before = [shape(&pool, "arrived").await, shape(&pool, "confirmed").await];
        sqlx::query(sql).execute(&pool).await.unwrap();
        assert_ne!([shape(&pool, "arrived").await, shape(&pool, "confirmed").await], before, "{sql}");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let scratch = Scratch::new();
    let (store, _) = replica(&scratch.file()).await;
    store.close().await;
    let pool = sqlite(&scratch).await;
    let sql = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
               values (99, 'later', true, x'00', 0)";
    sqlx::query(sql).execute(&pool).await.unwrap();
    pool.close().await;
    let error = SqliteReplica::open(&scratch.file()).await.unwrap_err();
    assert_eq!(error, StoreError::Newer(99), "not a damaged one, which would be given up");
}

#[tokio::test]
async fn only_the_owner_can_read_the_file_and_its_log() {
    let scratch = Scratch::new();
    let (store, _) = replica(&scratch.file()).await;
    store.begin(Mode::Read).await.unwrap();
    for name in ["replica.sqlite", "replica.sqlite-wal", "replica.sqlite-shm"] {
        let mode = std::fs::metadata(scratch.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_watch_goes_on_where_it_stopped_and_is_told_when_it_cannot() {
    let scratch = Scratch::new();
    let mut hub = Hub::default();
    let (store, replica) = replica(&scratch.file()).await;
    let start = replica.changes_end().await.unwrap();
    replica.write(put("note", "a", json!({"t": 1})), NOW).await.unwrap();
    sync(&replica, &mut hub).await;
    let seen = replica.changes_after(start, 100).await.unwrap();
    assert!(seen.iter().all(|change| change.key == key("note", "a")));
    let last = seen.last().unwrap().position;
    drop(replica);
    store.close().await;
    let (_store, replica) = self::replica(&scratch.file()).await;
    assert!(replica.changes_after(last, 100).await.unwrap().is_empty());
    replica.write(put("note", "b", json!({"t": 1})), NOW).await.unwrap();
    let seen = replica.changes_after(last, 100).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].key, key("note", "b"));
    let strange = replica.changes_after(last + 1000, 1).await.unwrap_err().refusal();
    assert_eq!(strange.reason, Reason::CursorExpired);
}
