//! One private PostgreSQL server for a test binary, and a schema of its own for each test.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A running server, reached by its socket. It outlives its process by a moment: a child that waits for the process to end stops it.
struct Server {
    address: String,
    _cleaner: Mutex<Child>,
}

static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| start(""));

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name)
}

/// A server of a test's own, whose settings it may change.
pub struct Own(Server);

impl Own {
    /// `None` as for [`url`].
    pub async fn start(name: &'static str) -> Option<Self> {
        tokio::task::spawn_blocking(|| start(name)).await.unwrap().map(Self)
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.0.address
    }

    /// Runs statements as its superuser.
    pub async fn run(&self, statements: &[&str]) {
        run(&self.0.address, statements).await;
    }
}

/// Runs statements on a connection of their own.
pub async fn run(url: &str, statements: &[&str]) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    for statement in statements {
        sqlx::query(AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// `None` where PostgreSQL's programs are not installed, which nothing but a developer's machine may lack.
fn start(name: &str) -> Option<Server> {
    let found = Command::new(script("postgres-bin")).output().unwrap();
    if !found.status.success() {
        assert!(std::env::var_os("CI").is_none(), "{}", String::from_utf8_lossy(&found.stderr));
        return None;
    }
    let folder = PathBuf::from(format!("/tmp/hubward-postgres-{name}{}", std::process::id()));
    let fixture = script("postgres-fixture");
    // Reads until this process has ended, whichever way; in a group of its own, so that it is not ended with it.
    let cleaner = Command::new("sh")
        .args(["-c", "read -r _; \"$0\" end \"$1\" >/dev/null 2>&1; rm -rf \"$1\""])
        .args([&fixture, &folder])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Servers of one test are not copies of each other.
    static IS_FIRST: AtomicBool = AtomicBool::new(true);
    let how = if IS_FIRST.swap(false, Ordering::Relaxed) { "copy" } else { "start" };
    let started = Command::new(&fixture).arg(how).arg(&folder).output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let url = String::from_utf8(started.stdout).unwrap();
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap();
    let address = format!("postgres://hubward@localhost:{port}/postgres?host={}", folder.display());
    Some(Server { address, _cleaner: Mutex::new(cleaner) })
}

/// A URL whose tables are this test's alone.
pub async fn url() -> Option<String> {
    let (address, schema) = schema().await?;
    Some(format!("{address}&options=-c%20search_path%3D{schema}"))
}

/// As [`url`], with a server that does not know the time: what a test does with its own clock stands.
pub async fn url_without_clock() -> Option<String> {
    let (address, schema) = schema().await?;
    let blind = AssertSqlSafe(format!(
        "create function {schema}.clock_timestamp() returns timestamptz language sql as 'select null::timestamptz'"
    ));
    let mut connection = PgConnection::connect(&address).await.unwrap();
    sqlx::query(blind).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Some(format!("{address}&options=-c%20search_path%3D{schema}%2Cpg_catalog"))
}

async fn schema() -> Option<(String, String)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = tokio::task::spawn_blocking(|| SERVER.as_ref()).await.unwrap()?;
    let schema = format!("test{}", NEXT.fetch_add(1, Ordering::SeqCst));
    let mut connection = PgConnection::connect(&server.address).await.unwrap();
    let create = AssertSqlSafe(format!("create schema {schema}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Some((server.address.clone(), schema))
}
