//! Backups of stores in use, and stores that begin again from them, over both engines that keep anything.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use gateway::access::{AccessLog, Filter, Position, Who, page, verify};
use gateway::ambient::{Clock, SystemEntropy};
use gateway::auth::{KnownKey, hub_tenant, known_token_keys, retire_token_key, rotate_token_key, token_kid};
use gateway::backup::{self, MANIFEST_FILE, TABLES_FILE};
use gateway::config::{Config, Given};
use gateway::hub::error::HubError;
use gateway::store::archive::{self, Origin};
use gateway::store::postgres::PostgresStore;
use gateway::store::sqlite::{DATABASE_FILE, SqliteStore};
use gateway::store::{Space, Store};
use semantics::access::Event;
use semantics::ids::{LogId, Revision};
use semantics::reason::Reason;
use semantics::recovery::{BackedUp, Phase, Restored};

use crate::support::postgres;
use crate::support::rows::{Log, note, snapshot, tenant};

#[derive(Debug)]
pub struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A folder for data folders and backups, deleted with it.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("hubward-backup-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    /// Settings of a hub with this data folder, on SQLite there or on a database.
    pub fn config(&self, name: &str, url: Option<&str>) -> Config {
        let database_url = url.map(str::to_owned);
        Given { data: Some(self.at(name)), database_url, ..Given::default() }.check().unwrap()
    }
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(config: &Config, url: Option<&str>) -> Box<dyn Store> {
    match url {
        Some(url) => Box::new(PostgresStore::connect(url).await.unwrap()),
        None => Box::new(SqliteStore::open(&config.data).await.unwrap()),
    }
}

pub fn clock() -> Ticks {
    Ticks(AtomicU64::new(1_000))
}

pub async fn restore(config: &Config, from: &Path, replace: bool) -> Result<backup::Answer, HubError> {
    backup::restore(config, from, replace, (&clock(), &SystemEntropy)).await
}

/// Two tenants with records, tombstones, refusals, held rows, plain rows, and more rows than are copied at once.
async fn fill(store: &dyn Store) -> (Log, Log) {
    let mut one = Log::create(store, "one").await;
    for n in 0..4 {
        let mut draft = one.draft();
        for id in 0..150 {
            draft = draft.put(&note(&format!("{n}-{id}")), &[n; 300]);
        }
        one.append(store, draft.reject("no").hold(u64::from(n) + 1, true)).await;
    }
    let gone = one.draft().delete(&note("0-0")).open_conflict(&note("0-1"), "/a", "c1");
    one.append(store, gone).await;
    let two = Log::create(store, "zwei").await;
    for n in 0..300_u32 {
        let put = store.plain_put(&two.tenant, Space::Token, &n.to_be_bytes(), b"\0\xff", 0).await;
        assert!(put.unwrap());
    }
    (one, two)
}

async fn mark<M: serde::de::DeserializeOwned>(store: &dyn Store, log: &Log, name: &[u8]) -> Option<M> {
    let row = store.plain_get(&log.tenant, Space::Mark, name).await.unwrap()?;
    Some(serde_json::from_slice(&row.value).unwrap())
}

/// All of a tenant but its log id, its marks and its access log, which a restore changes.
async fn essence(store: &dyn Store, log: &Log) -> Vec<String> {
    let text = snapshot(store, &log.tenant).await;
    let mark = format!("{:?}", b"backed-up");
    let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    // The spaces come last; that of the access log says of the restore.
    let at = Space::ALL.iter().rev().position(|(space, _)| *space == Space::Access).unwrap();
    lines.remove(lines.len() - 1 - at);
    lines.retain(|line| !line.contains(&mark));
    lines
}

/// A backup of a store that goes on being written, put into an empty store of the given engine.
async fn goes_on(from: Option<String>, to: Option<String>) {
    let place = Place::new();
    let (old, new) = (place.config("old", from.as_deref()), place.config("new", to.as_deref()));
    let store = open(&old, from.as_deref()).await;
    let (mut one, two) = fill(&*store).await;
    let made = backup::create(&old, &place.at("b"), &clock()).await.unwrap();
    let ends: Vec<(String, u64)> =
        made.tenants.iter().map(|head| (head.tenant.clone(), head.revision.0)).collect();
    assert_eq!(ends, [("one".to_owned(), one.head.revision.0), ("zwei".to_owned(), 0)]);
    let backed_up: BackedUp = mark(&*store, &one, b"backed-up").await.unwrap();
    assert_eq!(backed_up.revision, one.head.revision);
    let at_backup = one.clone();
    let (all_of_one, all_of_two) = (essence(&*store, &one).await, essence(&*store, &two).await);
    one.put_each(&*store, &["after"]).await;

    let answer = restore(&new, &place.at("b"), false).await.unwrap();
    assert!(!answer.has_keys);
    let restored = open(&new, to.as_deref()).await;
    let head = restored.head(&one.tenant).await.unwrap();
    assert_ne!(head.log_id, one.head.log_id);
    let old_id = semantics::commit::Head { log_id: one.head.log_id, ..head };
    assert_eq!(old_id, at_backup.head);
    let known: Restored = mark(&*restored, &one, b"restored").await.unwrap();
    assert_eq!((known.predecessor, known.revision), (one.head.log_id, at_backup.head.revision));
    assert_eq!((known.commit, known.chain), (at_backup.head.commit, at_backup.head.chain));
    assert_eq!((known.restores, known.phase), (1, Phase::Stopped));
    assert_eq!(mark::<BackedUp>(&*restored, &one, b"backed-up").await.unwrap().revision, known.revision);

    // What came after the backup is not there; everything else is as it was.
    assert!(all_of_one.len() > 600, "{}", all_of_one.len());
    assert_eq!(essence(&*restored, &one).await, all_of_one);
    assert_eq!(essence(&*restored, &two).await, all_of_two);
    assert_eq!(restored.tenants(None, 10).await.unwrap(), [tenant("one"), tenant("zwei")]);
    let mut going_on = at_backup;
    going_on.head = head;
    going_on.put_each(&*restored, &["new"]).await;
    assert!(!snapshot(&*restored, &one.tenant).await.contains("after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_from_a_backup_on_either_engine() {
    goes_on(None, None).await;
    let (Some(from), Some(to)) = (postgres::url().await, postgres::url().await) else {
        eprintln!("SKIPPED: postgres is not available here");
        return;
    };
    goes_on(Some(from.clone()), None).await;
    goes_on(None, Some(to)).await;
}

/// A backup is finished after the log that it is of went on as another one: its last step, taken alone.
async fn is_not_noted(url: Option<String>) {
    let place = Place::new();
    let config = place.config("hub", url.as_deref());
    let store = open(&config, url.as_deref()).await;
    let (one, _) = fill(&*store).await;
    let at = url.as_deref().map_or(Origin::Folder(&config.data), Origin::Postgres);
    let held = |revision: u64| BackedUp { revision: Revision(revision), time_ms: 1 };
    archive::note(at, &[(one.tenant.clone(), one.head.log_id, held(3))]).await.unwrap();
    archive::note(at, &[(one.tenant.clone(), LogId([9; 16]), held(500))]).await.unwrap();
    archive::note(at, &[(tenant("gone"), LogId([9; 16]), held(500))]).await.unwrap();
    let noted: BackedUp = mark(&*store, &one, b"backed-up").await.unwrap();
    assert_eq!(noted.revision, Revision(3), "spokes of the present log keep what no backup of it holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_the_log_before_says_nothing_of_the_present_one() {
    is_not_noted(None).await;
    match postgres::url().await {
        Some(url) => is_not_noted(Some(url)).await,
        None => eprintln!("SKIPPED: postgres is not available here"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_torn_damaged_or_foreign_changes_nothing() {
    type Bytes<'a> = Option<&'a [u8]>;
    let place = Place::new();
    let old = place.config("old", None);
    let store = open(&old, None).await;
    let (one, _) = fill(&*store).await;
    let whole = place.at("b");
    backup::create(&old, &whole, &clock()).await.unwrap();
    let new = place.config("new", None);
    let (tables, manifest) =
        (std::fs::read(whole.join(TABLES_FILE)).unwrap(), std::fs::read(whole.join(MANIFEST_FILE)).unwrap());
    let text = String::from_utf8(manifest.clone()).unwrap();
    let revision = format!("\"revision\": {}", one.head.revision.0);
    assert!(text.contains(&revision));
    let mut flipped = tables.clone();
    flipped[tables.len() / 2] ^= 1;
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    let other_head = text.replace(&revision, "\"revision\": 9");
    let none: Bytes<'_> = None;
    let cases: [(&str, Bytes<'_>, Bytes<'_>, Reason); 8] = [
        ("torn tables", Some(&tables[..tables.len() / 3]), Some(&manifest), Reason::StoreCorrupt),
        ("a flipped bit", Some(&flipped), Some(&manifest), Reason::StoreCorrupt),
        ("no tables", none, Some(&manifest), Reason::StoreCorrupt),
        ("a torn manifest", Some(&tables), Some(&manifest[..manifest.len() / 2]), Reason::StoreCorrupt),
        ("no manifest", Some(&tables), none, Reason::NotFound),
        ("a newer form", Some(&tables), Some(newer.as_bytes()), Reason::ProtocolVersion),
        ("other heads", Some(&tables), Some(other_head.as_bytes()), Reason::StoreCorrupt),
        ("nothing", none, none, Reason::NotFound),
    ];
    for (name, tables, manifest, reason) in cases {
        let folder = place.at(&name.replace(' ', "-"));
        std::fs::create_dir(&folder).unwrap();
        for (file, bytes) in [(TABLES_FILE, tables), (MANIFEST_FILE, manifest)] {
            if let Some(bytes) = bytes {
                std::fs::write(folder.join(file), bytes).unwrap();
            }
        }
        let error = restore(&new, &folder, false).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{name}: {error:?}");
        assert!(!error.refusal.detail.contains('\n'), "{name}: one line");
        assert!(!new.data.join(DATABASE_FILE).exists(), "{name}");
    }
    // The hub whose keys lie in the data folder is another one.
    let (mine, theirs) = (place.config("mine", None), place.config("theirs", None));
    drop(gateway::serve::open(&mine).await.unwrap());
    drop(gateway::serve::open(&theirs).await.unwrap());
    backup::create(&theirs, &place.at("foreign"), &clock()).await.unwrap();
    let before = std::fs::read(mine.data.join(DATABASE_FILE)).unwrap();
    let foreign = restore(&mine, &place.at("foreign"), true).await.unwrap_err();
    assert_eq!(foreign.reason(), Reason::AlreadyExists, "{foreign:?}");
    assert_eq!(std::fs::read(mine.data.join(DATABASE_FILE)).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_already_is_given_up_only_when_that_is_said() {
    let place = Place::new();
    let old = place.config("old", None);
    let store = open(&old, None).await;
    let (mut one, _) = fill(&*store).await;
    std::fs::create_dir(place.at("full")).unwrap();
    std::fs::write(place.at("full").join("x"), "").unwrap();
    let full = backup::create(&old, &place.at("full"), &clock()).await.unwrap_err();
    assert_eq!(full.reason(), Reason::AlreadyExists);
    std::fs::create_dir(place.at("empty")).unwrap();
    backup::create(&old, &place.at("empty"), &clock()).await.unwrap();
    assert!(!place.names().iter().any(|name| name.contains("partial")), "{:?}", place.names());
    one.put_each(&*store, &["after"]).await;

    let running = restore(&old, &place.at("empty"), true).await.unwrap_err();
    assert_eq!(running.reason(), Reason::StoreUnavailable, "a hub has the folder");
    drop(store);
    let refused = loop {
        // The lock goes with the last connection of the store, which closes in its own time.
        match restore(&old, &place.at("empty"), false).await {
            Err(error) if error.reason() == Reason::StoreUnavailable => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(refused.reason(), Reason::AlreadyExists);
    let done = restore(&old, &place.at("empty"), true).await.unwrap();
    let aside = done.replaced.unwrap();
    let kept = place.at("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::copy(aside, kept.join(DATABASE_FILE)).unwrap();
    let (kept, again) = (SqliteStore::open(&kept).await.unwrap(), open(&old, None).await);
    assert!(snapshot(&kept, &one.tenant).await.contains("after"));
    assert!(!snapshot(&*again, &one.tenant).await.contains("after"));

    let Some(url) = postgres::url().await else {
        eprintln!("SKIPPED: postgres is not available here");
        return;
    };
    let server = place.config("server", Some(&url));
    let store = open(&server, Some(&url)).await;
    Log::create(&*store, "other").await;
    let refused = restore(&server, &place.at("empty"), false).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AlreadyExists);
    assert_eq!(store.tenants(None, 10).await.unwrap(), [tenant("other")]);
    restore(&server, &place.at("empty"), true).await.unwrap();
    assert_eq!(store.tenants(None, 10).await.unwrap(), [tenant("one"), tenant("zwei")]);
}

/// The names of the token keys whose tokens are taken without end.
async fn endless(at: Origin<'_>) -> Vec<String> {
    let known = known_token_keys(at).await.unwrap();
    known.into_iter().filter(|key| key.until_ms.is_none()).map(|key| key.kid).collect()
}

async fn no_key_comes_back(url: Option<String>) {
    let place = Place::new();
    let config = place.config("hub", url.as_deref());
    let at = url.as_deref().map_or(Origin::Folder(&config.data), Origin::Postgres);
    let opened = gateway::serve::open(&config).await.unwrap();
    // Of a gateway whose folder is gone.
    let lost = "00112233445566ff".to_owned();
    let (hub, row) = (hub_tenant().unwrap(), format!("token-key/{lost}"));
    assert!(archive::put_row(at, &hub, Space::Hub, (row.as_bytes(), &[7; 32]), 0).await.unwrap());
    let before = token_kid(&config.data).unwrap().unwrap();
    assert_eq!(endless(at).await, sorted([&lost, &before]));
    backup::create(&config, &place.at("b"), &clock()).await.unwrap();

    let rotated = rotate_token_key(&config.data, &SystemEntropy).unwrap();
    assert_eq!(opened.trust.follow_token_key().await.unwrap(), Some(rotated.clone()));
    assert_eq!((&rotated.before, endless(at).await), (&before, sorted([&lost, &rotated.kid])));
    let own = retire_token_key(at, &rotated.kid, Some(&rotated.kid), (1_000, 5_000)).await.unwrap_err();
    assert_eq!(own.reason(), Reason::Malformed, "{own}");
    let unknown = retire_token_key(at, "nothing", Some(&rotated.kid), (1_000, 5_000)).await.unwrap_err();
    assert_eq!(unknown.reason(), Reason::NotFound, "{unknown}");
    let ends = KnownKey { kid: lost.clone(), until_ms: Some(5_000), is_gone: false };
    for until_ms in [5_000, 9_000] {
        let retired = retire_token_key(at, &lost, Some(&rotated.kid), (1_000, until_ms)).await.unwrap();
        assert_eq!(retired, ends, "the first end stands");
    }
    assert_eq!(endless(at).await, std::slice::from_ref(&rotated.kid));
    opened.trust.follow_token_key().await.unwrap();
    assert!(known_token_keys(at).await.unwrap().contains(&KnownKey { is_gone: true, ..ends }));
    opened.close().await;

    loop {
        match restore(&config, &place.at("b"), true).await {
            // The lock goes with the last connection of the store, which closes in its own time.
            Err(error) if error.reason() == Reason::StoreUnavailable => tokio::task::yield_now().await,
            done => break drop(done.unwrap()),
        }
    }
    assert!(endless(at).await.is_empty(), "the backup knows nothing of the key that the folder has now");
    assert!(known_token_keys(at).await.unwrap().iter().all(|key| key.is_gone));
    let opened = gateway::serve::open(&config).await.unwrap();
    opened.trust.follow_token_key().await.unwrap();
    assert_eq!(endless(at).await, [rotated.kid]);
    opened.close().await;
}

/// What stands in the access log of the tenant `hub`: event, who, and what else it says.
async fn noted(opened: &gateway::serve::Opened) -> Vec<serde_json::Value> {
    let (hub, all) = (hub_tenant().unwrap(), Filter::default());
    let found = page(&opened.hub, &hub, &all, Position::default(), 100).await.unwrap().entries;
    let whole = verify(&opened.hub, &hub, None, None).await.unwrap();
    assert!(whole.broken.is_none(), "{whole:?}");
    found.into_iter().map(|(_, entry)| serde_json::to_value(entry).unwrap()).collect()
}

async fn is_noted(url: Option<String>) {
    let place = Place::new();
    let config = place.config("hub", url.as_deref());
    let at = url.as_deref().map_or(Origin::Folder(&config.data), Origin::Postgres);
    let opened = gateway::serve::open(&config).await.unwrap();
    let log = AccessLog::start(opened.hub.clone());
    let hub = hub_tenant().unwrap();
    log.note(&hub, &Who::Hub, Event::TenantCreated);
    log.flush().await;
    assert!(archive::put_row(at, &hub, Space::Hub, (b"token-key/lost", &[7; 32]), 0).await.unwrap());
    for _ in 0..2 {
        retire_token_key(at, "lost", None, (1_000, 5_000)).await.unwrap();
    }
    // The gateway that runs goes on behind what was written beside it.
    log.note(&hub, &Who::Hub, Event::TenantCreated);
    log.flush().await;
    let made = backup::create(&config, &place.at("b"), &clock()).await.unwrap();
    let before = noted(&opened).await;
    let events: Vec<&str> = before.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    let expected = ["tenant_created", "token_key_retired", "tenant_created", "backup_created"];
    assert_eq!(events, expected, "what is retired again changes nothing");
    assert!(before.iter().all(|entry| entry["who"] == "hub"), "{before:?}");
    assert_eq!((&before[1]["kid"], &before[1]["until_ms"]), (&"lost".into(), &5_000.into()));
    assert_eq!(before[3]["digest"], made.tables_digest.to_string());
    drop(log);
    opened.close().await;

    let done = loop {
        match restore(&config, &place.at("b"), true).await {
            // The lock goes with the last connection of the store, which closes in its own time.
            Err(error) if error.reason() == Reason::StoreUnavailable => tokio::task::yield_now().await,
            done => break done.unwrap(),
        }
    };
    let opened = loop {
        match gateway::serve::open(&config).await {
            // So does the restore's own connection, while which no gateway starts.
            Err(error) if error.reason() == Reason::StoreUnavailable => tokio::task::yield_now().await,
            done => break done.unwrap(),
        }
    };
    let after = noted(&opened).await;
    assert_eq!(after[..3], before[..3], "what the backup holds of it is as it was");
    let (said, of) = (&after[3], |name: &str| done.tenants.iter().position(|head| head.tenant == name));
    let at = of("hub").unwrap();
    assert_eq!((after.len(), &said["event"]), (4, &"log_restored".into()));
    assert_eq!(said["log_id"], done.tenants[at].log_id.to_string());
    assert_eq!(said["predecessor"], done.from[at].log_id.to_string());
    assert_eq!(said["backup_ms"], done.time_ms);
    opened.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_a_retirement_and_a_restore_stand_in_the_access_log() {
    is_noted(None).await;
    match postgres::url().await {
        Some(url) => is_noted(Some(url)).await,
        None => eprintln!("SKIPPED: postgres is not available here"),
    }
}

fn sorted(kids: [&String; 2]) -> Vec<String> {
    let mut kids = kids.map(String::clone).to_vec();
    kids.sort();
    kids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_rotated_or_retired_does_not_come_back_with_a_backup() {
    no_key_comes_back(None).await;
    match postgres::url().await {
        Some(url) => no_key_comes_back(Some(url)).await,
        None => eprintln!("SKIPPED: postgres is not available here"),
    }
}
