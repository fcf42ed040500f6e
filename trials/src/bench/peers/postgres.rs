//! Postgres as a program uses it that keeps its state there: one upsert a transaction.

use std::time::Instant;

use sqlx::{Executor as _, PgConnection};

use crate::bench::echo::Keys;
use crate::bench::figures::Figures;
use crate::bench::ground::{Ground, connect};
use crate::bench::load::{Client, Done, closed};
use crate::bench::machine::Watched;

pub(super) const NAME: &str = "Postgres, upserts";

struct Upserter {
    connection: PgConnection,
    keys: Keys,
}

impl Client for Upserter {
    async fn step(&mut self) -> Done {
        let (key, value) = self.keys.next();
        let begin = Instant::now();
        sqlx::query(
            "insert into records values ($1, $2) on conflict (id) do update set body = excluded.body",
        )
        .bind(key)
        .bind(&*value)
        .execute(&mut self.connection)
        .await
        .unwrap_or_else(|e| panic!("an upsert: {e}"));
        Done { ops: 1, latency: begin.elapsed() }
    }
}

pub(super) async fn upserts(ground: &Ground, count: usize) -> Option<Figures> {
    let server = ground.postgres.as_ref()?;
    let (name, url) = server.database().await;
    let mut clients = Vec::new();
    for n in 0..count {
        let mut connection = connect(&url).await;
        if n == 0 {
            let table =
                "create table records (id text primary key, body bytea not null) with (fillfactor = 70)";
            connection.execute(table).await.expect("a table");
        }
        clients.push(Upserter { connection, keys: Keys::new(n, count) });
    }
    let watched = Watched { server: None, database: server.id() };
    let figures = closed(clients, &ground.settings.times, &watched).await;
    server.drop_database(&name).await;
    Some(figures)
}
