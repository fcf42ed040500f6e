//! Ceilings of the databases: the fewest rows that a commit of the log can be, written by one client with nothing around
//! it. The same rows on both: the head moved by compare-and-set, a log row with the body and a pointer for each mutation,
//! one row of outcomes, and one of 2 KiB with the sum of the records.

use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior, params};
use sqlx::{Executor as _, PgConnection, Row as _};

use super::figures::Figures;
use super::ground::{Ground, On, Settings, connect};
use super::load::{Client, Done, closed};
use super::machine::Watched;
use super::scenario::Scenario;
use super::stream::{BODY_BYTES, RECORDS, body, text};
use crate::process::Folder;
use crate::sim::rng::Rng;

/// Bytes of the sum of a set of records.
const SUM_BYTES: usize = 2_048;
/// Rows that one fetch of the cursor brings.
const FETCHED: usize = 5_000;
const TENANT: &[u8] = b"default";

pub(crate) const POSTGRES: &str = "bare Postgres";
pub(crate) const SQLITE: &str = "bare SQLite";

pub(crate) fn commit_name(on: On) -> &'static str {
    match on {
        On::Sqlite => SQLITE,
        On::Postgres | On::PostgresTls => POSTGRES,
    }
}

const POSTGRES_TABLES: &str = "\
    create table heads (tenant bytea primary key, commit_number bigint not null, revision bigint not null, \
        chain bytea not null) with (fillfactor = 20); \
    create table log (tenant bytea not null, revision bigint not null, commit_number bigint not null, \
        id bytea not null, node bytea not null, n bigint not null, digest bytea not null, body bytea not null, \
        primary key (tenant, revision)); \
    create table records (tenant bytea not null, id bytea not null, revision bigint not null, digest bytea not null, \
        primary key (tenant, id)) with (fillfactor = 70); \
    create table commits (tenant bytea not null, number bigint not null, chain bytea not null, \
        outcomes bytea not null, primary key (tenant, number)); \
    create table sums (tenant bytea not null, cell bytea not null, state bytea not null, \
        primary key (tenant, cell)) with (fillfactor = 50); \
    alter table sums alter column state set storage plain; \
    insert into heads values ('default', 0, 0, '');";

const APPEND: &str = "with head as (update heads set commit_number = $3, revision = $4, chain = $5 \
    where tenant = $1 and commit_number = $2 returning tenant), \
    into_log as (insert into log select head.tenant, rows.revision, $3, rows.id, rows.node, rows.n, rows.digest, \
        rows.body from head cross join unnest($6::bigint[], $7::bytea[], $8::bytea[], $9::bigint[], $10::bytea[], \
        $11::bytea[]) as rows (revision, id, node, n, digest, body)), \
    into_records as (insert into records select head.tenant, rows.* from head cross join \
        unnest($12::bytea[], $13::bigint[], $14::bytea[]) as rows (id, revision, digest) \
        on conflict (tenant, id) do update set revision = excluded.revision, digest = excluded.digest), \
    into_commits as (insert into commits select head.tenant, $3, $5, $15 from head), \
    into_sums as (insert into sums select head.tenant, $16, $17 from head \
        on conflict (tenant, cell) do update set state = excluded.state) \
    select count(*) from head";

/// What the next commit writes. No record is in it twice.
struct Rows {
    rng: Rng,
    text: String,
    commit: i64,
    revision: i64,
    count: usize,
}

struct Row {
    revision: i64,
    id: Vec<u8>,
    node: Vec<u8>,
    digest: Vec<u8>,
    body: Vec<u8>,
}

impl Rows {
    fn new(count: usize) -> Self {
        let mut rng = Rng::new(1);
        let text = text(&mut rng, BODY_BYTES);
        Self { rng, text, commit: 0, revision: 0, count }
    }

    fn next(&mut self) -> Vec<Row> {
        self.commit += 1;
        let first = self.rng.index(RECORDS);
        let row = |n: usize| {
            self.revision += 1;
            Row {
                revision: self.revision,
                // Neighbours of a commit are not neighbours in the table.
                id: format!("r-{}", (first + n * 7_919) % RECORDS).into_bytes(),
                node: self.rng.bytes16().to_vec(),
                digest: [self.rng.bytes16(), self.rng.bytes16()].concat(),
                body: body(self.revision.unsigned_abs(), &self.text),
            }
        };
        (0..self.count).map(row).collect()
    }

    /// About ten bytes for each outcome.
    fn outcomes(&self) -> Vec<u8> {
        vec![3; self.count * 10]
    }
}

struct Postgres {
    connection: PgConnection,
    rows: Rows,
}

impl Client for Postgres {
    async fn step(&mut self) -> Done {
        let rows = self.rows.next();
        let begin = Instant::now();
        let column =
            |of: fn(&Row) -> &Vec<u8>| rows.iter().map(|row| of(row).clone()).collect::<Vec<Vec<u8>>>();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision).collect();
        let moved: i64 = sqlx::query(APPEND)
            .bind(TENANT)
            .bind(self.rows.commit - 1)
            .bind(self.rows.commit)
            .bind(self.rows.revision)
            .bind([5_u8; 32].as_slice())
            .bind(&revisions)
            .bind(column(|row| &row.id))
            .bind(column(|row| &row.node))
            .bind(&revisions)
            .bind(column(|row| &row.digest))
            .bind(column(|row| &row.body))
            .bind(column(|row| &row.id))
            .bind(&revisions)
            .bind(column(|row| &row.digest))
            .bind(self.rows.outcomes())
            .bind(b"cell".as_slice())
            .bind([self.rows.commit.to_le_bytes()[0]; SUM_BYTES].as_slice())
            .fetch_one(&mut self.connection)
            .await
            .and_then(|row| row.try_get(0))
            .unwrap_or_else(|e| panic!("a bare commit: {e}"));
        assert_eq!(moved, 1, "the head was where it was expected");
        Done { ops: self.rows.count as u64, latency: begin.elapsed() }
    }
}

const SQLITE_TABLES: &str = "\
    create table heads (tenant blob primary key, commit_number integer, revision integer, chain blob); \
    create table log (tenant blob, revision integer, commit_number integer, id blob, node blob, n integer, \
        digest blob, body blob, primary key (tenant, revision)) without rowid; \
    create table records (tenant blob, id blob, revision integer, digest blob, primary key (tenant, id)) without rowid; \
    create table commits (tenant blob, number integer, chain blob, outcomes blob, primary key (tenant, number)); \
    create table sums (tenant blob, cell blob, state blob, primary key (tenant, cell)); \
    insert into heads values (cast('default' as blob), 0, 0, '');";

struct Sqlite {
    connection: Connection,
    rows: Rows,
    _folder: Folder,
}

fn open(folder: &Folder, tables: &str) -> Connection {
    let connection = Connection::open(folder.path().join("bare.sqlite")).expect("a database");
    let pragmas = "pragma journal_mode = wal; pragma synchronous = full; pragma cache_size = -65536;";
    connection.execute_batch(pragmas).and_then(|()| connection.execute_batch(tables)).expect("tables");
    connection
}

impl Sqlite {
    fn commit(&mut self) -> rusqlite::Result<()> {
        let rows = self.rows.next();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (commit, last, chain) = (self.rows.commit, self.rows.revision, [5_u8; 32]);
        transaction
            .prepare_cached("update heads set commit_number = ?1, revision = ?2, chain = ?3 where tenant = ?4 and commit_number = ?5")?
            .execute(params![commit, last, chain, TENANT, commit - 1])?;
        let mut log =
            transaction.prepare_cached("insert into log values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let mut pointer = transaction.prepare_cached(
            "insert into records values (?1, ?2, ?3, ?4) \
             on conflict (tenant, id) do update set revision = excluded.revision, digest = excluded.digest",
        )?;
        for Row { revision, id, node, digest, body } in &rows {
            log.execute(params![TENANT, revision, commit, id, node, revision, digest, body])?;
            pointer.execute(params![TENANT, id, revision, digest])?;
        }
        drop((log, pointer));
        transaction.prepare_cached("insert into commits values (?1, ?2, ?3, ?4)")?.execute(params![
            TENANT,
            commit,
            chain,
            self.rows.outcomes()
        ])?;
        transaction.prepare_cached("insert or replace into sums values (?1, ?2, ?3)")?.execute(params![
            TENANT,
            b"cell",
            [commit.to_le_bytes()[0]; SUM_BYTES].as_slice()
        ])?;
        transaction.commit()
    }
}

impl Client for Sqlite {
    async fn step(&mut self) -> Done {
        let begin = Instant::now();
        tokio::task::block_in_place(|| self.commit()).unwrap_or_else(|e| panic!("a bare commit: {e}"));
        Done { ops: self.rows.count as u64, latency: begin.elapsed() }
    }
}

/// Commits of so many rows, one after the other.
pub(crate) async fn commit(ground: &Ground, on: On, count: usize) -> Option<Figures> {
    let times = &ground.settings.times;
    if on == On::Sqlite {
        let folder = Folder::new("bench-sqlite");
        let connection = open(&folder, SQLITE_TABLES);
        let client = Sqlite { connection, rows: Rows::new(count), _folder: folder };
        return Some(closed(vec![client], times, &Watched::default()).await);
    }
    let server = ground.postgres.as_ref()?;
    let (name, url) = server.database().await;
    let mut connection = connect(&url).await;
    connection.execute(POSTGRES_TABLES).await.unwrap_or_else(|e| panic!("tables: {e}"));
    let watched = Watched { server: None, database: server.id() };
    let figures = closed(vec![Postgres { connection, rows: Rows::new(count) }], times, &watched).await;
    server.drop_database(&name).await;
    Some(figures)
}

/// Rows put into an empty table, a thousand in a transaction.
pub(crate) fn inserts(count: usize) -> Figures {
    let folder = Folder::new("bench-inserts");
    let table =
        "create table records (kind blob, id blob, revision integer, envelope blob, primary key (kind, id));";
    let mut connection = open(&folder, table);
    let text = text(&mut Rng::new(1), BODY_BYTES);
    let begin = Instant::now();
    let mut insert = |from: usize| -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut row = transaction.prepare_cached("insert into records values (?1, ?2, ?3, ?4)")?;
        for n in from..count.min(from + 1_000) {
            row.execute(params![
                b"note",
                format!("r-{}-{n}", n % 8).as_bytes(),
                n as i64,
                body(n as u64, &text)
            ])?;
        }
        drop(row);
        transaction.commit()
    };
    (0..count).step_by(1_000).try_for_each(&mut insert).unwrap_or_else(|e| panic!("bare inserts: {e}"));
    let took = begin.elapsed().as_secs_f64();
    Figures::default().with("ms", took * 1e3).with("records/s", count as f64 / took)
}

/// So many rows read with a cursor.
pub(crate) async fn cursor(ground: &Ground, count: usize) -> Option<Figures> {
    let server = ground.postgres.as_ref()?;
    let (name, url) = server.database().await;
    let mut connection = connect(&url).await;
    connection.execute(POSTGRES_TABLES).await.unwrap_or_else(|e| panic!("tables: {e}"));
    let mut rows = Rows::new(count);
    let rows = rows.next();
    let (revisions, bodies): (Vec<i64>, Vec<Vec<u8>>) =
        rows.into_iter().map(|row| (row.revision, row.body)).unzip();
    let filled = sqlx::query(
        "insert into log select 'default', r, 1, 'id', 'node', r, 'digest', b from unnest($1::bigint[], $2::bytea[]) as rows (r, b)",
    );
    filled.bind(revisions).bind(bodies).execute(&mut connection).await.expect("rows");
    connection.execute("analyze log").await.expect("statistics");
    let begin = Instant::now();
    connection.execute("begin").await.expect("a transaction");
    connection.execute("declare it no scroll cursor for select revision, id, body from log where tenant = 'default' order by revision").await.expect("a cursor");
    let (mut seen, mut bytes) = (0, 0);
    let fetch = format!("fetch {FETCHED} from it");
    while seen < count {
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(fetch.clone())).fetch_all(&mut connection).await.expect("rows");
        assert!(!rows.is_empty(), "the cursor ended at {seen}");
        seen += rows.len();
        bytes +=
            rows.iter().filter_map(|row| row.try_get::<&[u8], _>(2).ok()).map(<[u8]>::len).sum::<usize>();
    }
    connection.execute("commit").await.expect("it ends");
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(bytes, count * BODY_BYTES);
    drop(connection);
    server.drop_database(&name).await;
    Some(Figures::default().with("ms", took * 1e3).with("records/s", count as f64 / took))
}

pub(crate) fn scenario(settings: &Settings) -> Scenario {
    let counts = settings.pick(vec![16, 256], vec![1, 16, 64, 256, 1_024], vec![1, 16, 64, 256, 1_024]);
    let mut scenario = Scenario::new(
        "bare-commit",
        "The ceilings of a commit: one client, one commit after the other, with nothing but the database. On Postgres one \
         statement, on SQLite one transaction in the same process.",
    );
    for count in counts {
        for on in On::BOTH {
            scenario.add(format!("{count} rows"), commit_name(on), move |ground| async move {
                commit(&ground, on, count).await
            });
        }
    }
    scenario
}
