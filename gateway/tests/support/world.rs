//! A tenant, its hubs, and the clock they share.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway::hub::control::plain_node;
use gateway::hub::limits::Bounds;
use gateway::hub::resolver::Resolver;
use gateway::hub::{Admission, Hub, Open, Paging, Parts, Principal, Retention};
use gateway::store::{Current, LogRow, Store};
use semantics::ids::{Domain, Key, NodeId, Revision, TenantId};
use semantics::lthash::LtHash;
use semantics::view::{Selector, View};
use tokio::sync::Mutex;

use super::ambient::{TestClock, TestEntropy};
use super::audit::Audit;
use super::author::Author;
use super::engine::Engine;
use super::rows::all_records;

/// What a test may ask of its hubs.
#[derive(Debug, Clone)]
pub struct Settings {
    pub admission: Arc<dyn Admission>,
    pub retention: Retention,
    pub paging: Paging,
}

impl Default for Settings {
    fn default() -> Self {
        let retention = Retention { revisions_min: 0, ..Retention::default() };
        Self { admission: Arc::new(Open), retention, paging: Paging::default() }
    }
}

impl Settings {
    /// Small pages, so that a test of paging needs few records.
    pub fn paged(rows_max: usize) -> Self {
        let paging = Paging {
            rows_max,
            latest_from: u64::try_from(rows_max).unwrap_or(u64::MAX),
            ..Paging::default()
        };
        Self { paging, ..Self::default() }
    }
}

pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<TestClock>,
    pub tenant: TenantId,
    pub hub: Arc<Hub>,
    entropy: Arc<TestEntropy>,
    settings: Settings,
    audit: Mutex<Audit>,
}

/// A hub at which others read too: what one reader is given may have been read for another.
fn hub(
    store: &Arc<dyn Store>,
    clock: &Arc<TestClock>,
    entropy: &Arc<TestEntropy>,
    settings: &Settings,
) -> Hub {
    let hub = Hub::new(parts(store, clock, entropy, settings));
    for _ in 0..2 {
        std::mem::forget(hub.readers().join());
    }
    hub
}

impl World {
    pub async fn new(engine: &Engine) -> Self {
        Self::with(engine, Settings::default()).await
    }

    pub async fn with(engine: &Engine, settings: Settings) -> Self {
        let (store, clock, entropy) = (engine.store(), Arc::default(), Arc::default());
        let hub = Arc::new(hub(&store, &clock, &entropy, &settings));
        let tenant = TenantId::new("acme").unwrap();
        assert!(hub.create_tenant(&tenant).await.unwrap());
        Self { store, clock, tenant, hub, entropy, settings, audit: Mutex::default() }
    }

    /// Another tenant of the same hub.
    pub async fn beside(&self, name: &str) -> Self {
        let tenant = TenantId::new(name).unwrap();
        assert!(self.hub.create_tenant(&tenant).await.unwrap());
        Self {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            tenant,
            hub: Arc::clone(&self.hub),
            entropy: Arc::clone(&self.entropy),
            settings: self.settings.clone(),
            audit: Mutex::default(),
        }
    }

    fn bare(&self, store: &Arc<dyn Store>) -> Hub {
        hub(store, &self.clock, &self.entropy, &self.settings)
    }

    /// Another gateway over a store of the same data.
    pub fn hub_on(&self, store: Arc<dyn Store>) -> Arc<Hub> {
        Arc::new(self.bare(&store))
    }

    /// A gateway on another view of the store, with bounds of its own.
    pub fn hub_bounded(&self, store: Arc<dyn Store>, bounds: Bounds) -> Arc<Hub> {
        Arc::new(self.bare(&store).bounded(bounds))
    }

    /// Another gateway on the same store, with a name.
    pub fn hub_named(&self, name: &str) -> Arc<Hub> {
        Arc::new(self.bare(&self.store).named(name))
    }

    /// A gateway on the same store that asks a program, so often in a minute.
    pub fn hub_asking(&self, resolver: Arc<dyn Resolver>, per_minute: u32) -> Arc<Hub> {
        let hub = self.bare(&self.store);
        Arc::new(hub.resolving(resolver, per_minute))
    }

    /// Another gateway on the same store.
    pub fn another_hub(&self) -> Arc<Hub> {
        self.hub_on(Arc::clone(&self.store))
    }

    /// A node of a domain with a first epoch.
    pub async fn author(&self, name: &str, domain: &str) -> Author {
        let node = self.register(name, domain).await;
        Author::open(self, Principal { tenant: self.tenant.clone(), node }).await
    }

    pub async fn register(&self, name: &str, domain: &str) -> NodeId {
        let body = plain_node(name, Domain::new(domain).unwrap());
        self.hub.register_node(&self.tenant, &body).await.unwrap()
    }

    /// Lets a node see these domains.
    pub async fn show(&self, author: &Author, domains: &[&str]) -> Revision {
        self.hub.set_view(&self.tenant, NodeId::HUB, author.who.node, &view(domains)).await.unwrap()
    }

    pub async fn current(&self, key: &Key) -> Option<Current> {
        self.hub.record(&self.tenant, key).await.unwrap()
    }

    pub async fn body(&self, key: &Key) -> Option<String> {
        let current = self.current(key).await?;
        current.record.body().map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    pub async fn row(&self, revision: Revision) -> Option<LogRow> {
        self.store.rows(&self.tenant, &BTreeSet::from([revision])).await.unwrap().pop()
    }

    pub async fn revision(&self) -> Revision {
        self.store.head(&self.tenant).await.unwrap().revision
    }

    /// Replays the log and compares cells, chain, outcomes and each node's digest.
    pub async fn check(&self) {
        self.audit.lock().await.check(&*self.store, &self.tenant).await;
        let records = self.store.pointer_page(&self.tenant, &all_records()).await.unwrap().rows;
        for node in records.iter().filter(|row| row.pointer.key.kind.as_str() == "view") {
            let seen: View = serde_json::from_slice(node.record.body().unwrap()).unwrap();
            let live =
                records.iter().map(|row| &row.pointer).filter(|p| !p.deleted && seen.contains(&p.cell));
            let sum: LtHash = live.map(|pointer| &pointer.digest).collect();
            let node = node.pointer.key.id.as_str().parse().unwrap();
            assert_eq!(self.hub.digest(&self.tenant, node).await.unwrap().1, sum.finish());
        }
    }

    /// One round of housekeeping, with the log replayed before and after.
    pub async fn maintain(&self) {
        self.check().await;
        self.hub.maintain(&self.tenant).await.unwrap();
        self.check().await;
    }
}

/// The one place where hubs under test are put together.
fn parts(
    store: &Arc<dyn Store>,
    clock: &Arc<TestClock>,
    entropy: &Arc<TestEntropy>,
    settings: &Settings,
) -> Parts {
    Parts {
        store: Arc::clone(store),
        clock: Arc::<TestClock>::clone(clock),
        entropy: Arc::<TestEntropy>::clone(entropy),
        admission: Arc::clone(&settings.admission),
        retention: settings.retention,
        paging: settings.paging,
    }
}

/// Every kind of these domains.
pub fn view(domains: &[&str]) -> View {
    let selector =
        |domain: &&str| Selector { domain: Domain::new(*domain).unwrap(), kind: None, facet: None };
    View { cells: domains.iter().map(selector).collect() }
}
