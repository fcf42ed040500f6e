//! What scenarios stand on: a Postgres server of the suite's own, hubs with nodes, sizes.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use proto::v1;
use proto::v1::session_response::Message as Hear;
use spoke::trust::JoinToken;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::load::Times;
use super::machine::Watched;
use crate::fleet::Hub;
use crate::member::{Member, Talk};
use crate::process::{Folder, Postgres};

/// The tenant that every hub has.
pub(crate) const TENANT: &str = "default";
/// Nodes that join side by side.
const JOINING_MAX: usize = 8;
/// Nodes that join with one token, where there are several: those who join with the same one wait for each other.
const JOINED_WITH: usize = 100;
/// Nodes that come from one address: of one a hub takes a quarter of the files that it may open.
const OF_ADDRESS_MAX: usize = 4_000;
/// Times that each case is measured.
const ROUNDS: usize = 5;
/// Writes a second in the open loop.
const WRITES_PER_SECOND: u64 = 100;
/// The type of nodes that join without one.
const NODE_TYPE: &str = "agent";
/// The type of nodes whose view [`Under::narrow`] makes narrow.
const NARROW_TYPE: &str = "edge";
/// What the server is set to beyond its defaults. What makes commits durable stays on.
const POSTGRES_SETTINGS: [(&str, &str); 3] =
    [("shared_buffers", "512MB"), ("max_wal_size", "8GB"), ("max_connections", "400")];

/// How much and how long.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) times: Times,
    pub(crate) is_small: bool,
    pub(crate) is_full: bool,
    /// Folder of the texts that are compressed; this tree's documents without one.
    pub(crate) texts: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn new(is_small: bool, is_full: bool) -> Self {
        let (warm_up, measure) = if is_small { (20, 100) } else { (1_000, 3_000) };
        let [warm_up, measure] = [warm_up, measure].map(Duration::from_millis);
        let times = Times { warm_up, measure, per_second: WRITES_PER_SECOND };
        Self { rounds: if is_small { 1 } else { ROUNDS }, times, is_small, is_full, texts: None }
    }

    /// A size: when it is only a trial, as a rule, and at its largest.
    pub(crate) fn pick<T>(&self, small: T, usual: T, full: T) -> T {
        match (self.is_small, self.is_full) {
            (true, _) => small,
            (false, false) => usual,
            (false, true) => full,
        }
    }
}

/// A Postgres server, in which each measurement has a database of its own.
#[derive(Debug)]
pub(crate) struct Server {
    server: Postgres,
    _folder: Folder,
    pub(crate) version: String,
    next: AtomicU64,
}

impl Server {
    async fn start() -> Option<Self> {
        let folder = Folder::new("bench-postgres");
        let server = Postgres::start(&folder)?;
        for (name, value) in POSTGRES_SETTINGS {
            admin(&server.url, &format!("alter system set {name} = '{value}'")).await;
        }
        server.restart();
        let mut connection = connect(&server.url).await;
        let version: String =
            sqlx::query_scalar("show server_version").fetch_one(&mut connection).await.expect("a version");
        Some(Self { server, _folder: folder, version, next: AtomicU64::new(0) })
    }

    /// An empty database: its name and where it is.
    pub(crate) async fn database(&self) -> (String, String) {
        let name = format!("bench{}", self.next.fetch_add(1, Ordering::Relaxed));
        admin(&self.server.url, &format!("create database {name}")).await;
        let url = self.url_of(&name);
        (name, url)
    }

    fn url_of(&self, name: &str) -> String {
        let (base, _) = self.server.url.rsplit_once('/').expect("a URL with a database");
        format!("{base}/{name}")
    }

    pub(crate) async fn drop_database(&self, name: &str) {
        admin(&self.server.url, &format!("drop database {name} with (force)")).await;
        // What it wrote does not wait for a checkpoint in the middle of the next measurement.
        admin(&self.server.url, "checkpoint").await;
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.server.id()
    }
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap_or_else(|e| panic!("the bench's Postgres: {e}"))
}

async fn admin(url: &str, sql: &str) {
    let mut connection = connect(url).await;
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
    done.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// What all scenarios share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) settings: Settings,
    pub(crate) postgres: Option<Server>,
}

impl Ground {
    pub(crate) async fn new(settings: Settings) -> Self {
        let postgres = Server::start().await;
        Self { settings, postgres }
    }
}

/// A hub under test, by what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
    /// Postgres, and TLS to the spokes.
    PostgresTls,
}

impl On {
    pub(crate) const BOTH: [Self; 2] = [Self::Postgres, Self::Sqlite];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "Hubward, SQLite",
            Self::Postgres => "Hubward, Postgres",
            Self::PostgresTls => "Hubward, Postgres, TLS",
        }
    }
}

/// A hub under test, in a process of its own, with an empty store.
#[derive(Debug)]
pub(crate) struct Under {
    // Dropped in this order: the process before its files.
    pub(crate) hub: Hub,
    pub(crate) folder: Folder,
    database: Option<String>,
    next: AtomicU64,
}

impl Under {
    /// `None` where this machine has no Postgres and it wants one.
    pub(crate) async fn start(ground: &Ground, on: On) -> Option<Self> {
        let folder = Folder::new("bench-hub");
        let (database, url) = match (on, &ground.postgres) {
            (On::Sqlite, _) => (None, None),
            (_, None) => return None,
            (_, Some(server)) => {
                let (name, url) = server.database().await;
                (Some(name), Some(url))
            }
        };
        let hub = Hub::start(&folder, on != On::PostgresTls, url.as_deref());
        Some(Self { hub, folder, database, next: AtomicU64::new(0) })
    }

    /// Ends it and takes its database away.
    pub(crate) async fn end(self, ground: &Ground) {
        let Self { hub, folder, database, .. } = self;
        drop((hub, folder));
        if let (Some(name), Some(server)) = (database, &ground.postgres) {
            server.drop_database(&name).await;
        }
    }

    /// Has its database do at once what is left to do after much was written: else that comes in the middle of what is
    /// measured next.
    pub(crate) async fn rest(&self, ground: &Ground) {
        if let (Some(name), Some(server)) = (&self.database, &ground.postgres) {
            let url = server.url_of(name);
            admin(&url, "vacuum analyze").await;
            admin(&url, "checkpoint").await;
        }
    }

    /// Bytes that its store takes.
    pub(crate) async fn stored(&self, ground: &Ground) -> f64 {
        if let (Some(name), Some(server)) = (&self.database, &ground.postgres) {
            let mut connection = connect(&server.server.url).await;
            let size = sqlx::query_scalar("select pg_database_size($1)").bind(name);
            let bytes: i64 = size.fetch_one(&mut connection).await.expect("a size");
            return bytes as f64;
        }
        let files = std::fs::read_dir(self.folder.path().join("hub")).expect("the hub's folder").flatten();
        let sizes = files.filter_map(|file| file.metadata().ok());
        sizes.map(|found| found.len() as f64).sum()
    }

    /// A number that nobody had before.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn watched(&self, ground: &Ground) -> Watched {
        let database = self.database.as_ref().and_then(|_| ground.postgres.as_ref()?.id());
        Watched { server: Some(self.hub.process().id()), database }
    }

    /// The name of a tenant, made where it is not there: the first one is.
    pub(crate) fn tenant(&self, index: usize) -> String {
        if index == 0 {
            return TENANT.to_owned();
        }
        let name = format!("{TENANT}-{index}");
        let made = self.hub.admin(&["tenant", "create", &name]);
        assert_eq!(made.code, 0, "{made:?}");
        name
    }

    /// New nodes, each on a connection of its own, `NAME-0` and on.
    pub(crate) async fn members(&self, name: &str, count: usize) -> Vec<Member> {
        self.members_of(TENANT, name, count).await
    }

    async fn members_of(&self, tenant: &str, name: &str, count: usize) -> Vec<Member> {
        self.joined(tenant, NODE_TYPE, name, count).await
    }

    async fn joined(&self, tenant: &str, node_type: &str, name: &str, count: usize) -> Vec<Member> {
        let tokens = count.div_ceil(JOINED_WITH).clamp(1, JOINING_MAX);
        let token = |_| JoinToken::parse(&self.token(tenant, count.div_ceil(tokens)));
        let tokens: Vec<_> = (0..tokens).map(token).map(|it| it.expect("the hub's token reads")).collect();
        let keys = self.folder.at(tenant);
        joined(&self.hub.url(), &tokens, &keys, node_type, name, count).await
    }

    /// A token for so many nodes.
    pub(crate) fn token(&self, tenant: &str, count: usize) -> String {
        let uses = count.to_string();
        let made = self.hub.admin(&["token", "create", "--tenant", tenant, "--uses", &uses]).json();
        made["token"].as_str().expect("a token").to_owned()
    }

    /// New nodes that see one kind alone.
    pub(crate) async fn narrow(&self, kind: &str, name: &str, count: usize) -> Vec<Member> {
        let set = self.hub.admin(&["node-type", "set", NARROW_TYPE, "--kind", kind, "--tenant", TENANT]);
        assert_eq!(set.code, 0, "{set:?}");
        self.joined(TENANT, NARROW_TYPE, name, count).await
    }

    /// New nodes that write, each with its session and its stream.
    pub(crate) async fn writers(&self, name: &str, count: usize) -> Vec<(Member, Talk, v1::Writer)> {
        self.writers_of(TENANT, name, count).await
    }

    /// As [`Under::writers`], of a tenant.
    pub(crate) async fn writers_of(
        &self,
        tenant: &str,
        name: &str,
        count: usize,
    ) -> Vec<(Member, Talk, v1::Writer)> {
        let members = self.members_of(tenant, name, count).await;
        let open = |member: Member| async move {
            let mut talk = member.talk(hello(1, None)).await.unwrap_or_else(|e| panic!("a session: {e}"));
            let writer = welcome(&mut talk).await.writer.expect("a writer");
            (member, talk, writer)
        };
        stream::iter(members).map(open).buffered(JOINING_MAX).collect().await
    }
}

/// New nodes, `NAME-0` and on, each on a connection of its own, with their keys in files that begin so. More than
/// [`OF_ADDRESS_MAX`] of them speak in clear text.
pub(crate) async fn joined(
    url: &str,
    tokens: &[JoinToken],
    keys: &str,
    node_type: &str,
    name: &str,
    count: usize,
) -> Vec<Member> {
    let join = |(n, token): (usize, _)| {
        let (name, key) = (format!("{name}-{n}"), format!("{keys}-{name}-{n}.pem"));
        async move {
            let member = Member::join_as(node_type, url, token, name, &key).await;
            // The first ones come from the address that everything comes from.
            match u8::try_from(n / OF_ADDRESS_MAX) {
                Ok(0) | Err(_) => member,
                Ok(more) => member.from_address(Ipv4Addr::new(127, 0, 0, 1 + more)),
            }
        }
    };
    stream::iter((0..count).zip(tokens.iter().cycle())).map(join).buffered(JOINING_MAX).collect().await
}

/// A hello of a node that takes so many bytes of changes, from a cursor on.
pub(crate) fn hello(credit_bytes: u64, cursor: Option<v1::Cursor>) -> v1::Hello {
    v1::Hello { protocol: 1, credit_bytes, cursor, ..v1::Hello::default() }
}

/// The next message of a session.
pub(crate) async fn hear(talk: &mut Talk) -> Hear {
    let heard = talk.1.message().await.unwrap_or_else(|e| panic!("a session ended: {e}"));
    match heard.and_then(|heard| heard.message) {
        Some(Hear::Goodbye(goodbye)) => panic!("the hub ended a session: {:?}", goodbye.refusal),
        heard => heard.expect("the session goes on"),
    }
}

/// The Welcome of a session.
pub(crate) async fn welcome(talk: &mut Talk) -> v1::Welcome {
    match hear(talk).await {
        Hear::Welcome(welcome) => welcome,
        other => panic!("no welcome: {other:?}"),
    }
}
