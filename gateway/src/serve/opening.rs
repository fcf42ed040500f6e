//! Opening store and keys.
//!
//! - Every wait for a database is bounded, but for migrations, which may have much to do; while any of it takes long,
//!   a line says so every [`TELL_EVERY`].
//! - Whoever starts a hub whose database does not answer, is a standby, or waits for one, is told so, and the process
//!   ends: what runs it starts it again. A hub that has served before waits by itself.

use std::sync::Arc;
use std::time::Duration;

use semantics::ids::LogId;
use tracing::warn;

use super::{Engine, Opened};
use crate::ambient::{Clock, Entropy, Stopwatch, SystemClock, SystemEntropy};
use crate::auth::{Transport, Trust};
use crate::config::{Config, StoreAt};
use crate::hub::admission::Limiter;
use crate::hub::error::HubError;
use crate::hub::{Hub, Paging, Parts, Retention};
use crate::metered::Metered;
use crate::place;
use crate::rpc::link::UNREAD_MS_MAX;
use crate::rpc::resolver;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::{DATABASE_FILE, SqliteStore};
use crate::telemetry::Metrics;

/// Between two lines about a store that is not open yet.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Between two tries to open a database that has moved.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Opens store and keys, and makes what is missing of them: what `migrate` does.
///
/// # Errors
/// STORE_UNSAFE when the store's settings cannot keep an acknowledgement; STORE_UNAVAILABLE; what the keys' folder
/// refuses.
pub async fn open(config: &Config) -> Result<Opened, HubError> {
    let opened = opened(config);
    tokio::pin!(opened);
    let since = Stopwatch::start();
    loop {
        match tokio::time::timeout(TELL_EVERY, &mut opened).await {
            Ok(done) => return done,
            Err(_) => warn!(waited_s = since.elapsed().as_secs(), "the store is not open yet"),
        }
    }
}

async fn opened(config: &Config) -> Result<Opened, HubError> {
    place::make_folder(&config.data)?;
    let metrics = if config.metrics_tenant_labels { Metrics::new() } else { Metrics::naming_no_tenant() };
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = open_engine(config, clock.as_ref(), entropy.as_ref()).await?;
    let store: Arc<dyn Store> = match engine.clone() {
        Engine::Memory => Arc::new(MemoryStore::new()),
        Engine::Sqlite(store) => Arc::new(store),
        Engine::Postgres(store) => Arc::new(store),
    };
    let store: Arc<dyn Store> = Arc::new(Metered::new(store, metrics.clone()));
    let hub = Hub::new(Parts {
        store,
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        admission: Arc::new(Limiter::new(config.quotas.node, config.quotas.tenant)),
        retention: Retention::default(),
        paging: Paging::default(),
    });
    let hub = resolver::attached(hub.named(place::name(config.listen)), config.resolver.as_ref());
    let hub = Arc::new(hub);
    let transport = if config.dev { Transport::Plaintext } else { Transport::Tls };
    let trust = Arc::new(Trust::open(Arc::clone(&hub), &config.data, transport).await?);
    Ok(Opened { hub, trust, metrics, engine, entropy, clock, unread_ms_max: UNREAD_MS_MAX })
}

async fn open_engine(config: &Config, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Engine, HubError> {
    Ok(match &config.store {
        StoreAt::Memory => Engine::Memory,
        StoreAt::Folder => {
            // The folder may have been there before, open to others.
            place::make_private(&config.data.join(DATABASE_FILE))?;
            Engine::Sqlite(SqliteStore::open(&config.data).await?)
        }
        StoreAt::Postgres(url) => {
            let mut store = PostgresStore::connect(url).await?;
            for (tenant, before) in store.settle(clock.now_ms(), || LogId(entropy.bytes16())).await? {
                warn!(%tenant, %before, "the database failed over to a standby that may lack the end of the log: it is a new log now");
            }
            Engine::Postgres(store)
        }
    })
}

/// Opens a store that may not be there yet, for as long as that takes.
pub(super) async fn again(config: &Config) -> Result<Opened, HubError> {
    let since = Stopwatch::start();
    let mut told = Duration::ZERO;
    loop {
        match open(config).await {
            Err(error) if error.reason().is_transient() => {
                let waited = since.elapsed();
                if told == Duration::ZERO || waited >= told + TELL_EVERY {
                    warn!(%error, waited_s = waited.as_secs(), "the store is not there yet");
                    told = waited.max(Duration::from_nanos(1));
                }
            }
            opened => return opened,
        }
        tokio::time::sleep(OPEN_AGAIN_AFTER).await;
    }
}
