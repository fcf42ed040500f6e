//! The hub: use cases over a store. Handlers call these; nothing here knows of gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use semantics::commit::Head;
use semantics::fault::Fault;
use semantics::ids::{LogId, NodeId, Revision, TenantId};
use semantics::reason::Reason;
use semantics::session::{PAGE_BYTES_MAX, PAGE_CHANGES_MAX};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub mod admission;
pub mod arbiter;
pub mod asks;
pub mod catch_up;
pub mod committer;
mod compare;
pub mod control;
pub mod convergence;
pub mod docket;
mod ends;
pub mod error;
pub mod examine;
pub mod feed;
pub mod foreseen;
mod gather;
mod heavy;
pub mod hello;
pub mod identities;
pub mod known;
mod latest;
pub mod limits;
pub mod maintain;
mod matrix;
pub mod plan;
pub mod policies;
pub mod presence;
pub mod push;
pub mod query;
mod queue;
pub mod readers;
pub mod reconcile;
pub mod recovery;
pub mod registry;
pub mod resolver;
mod seal;
mod seen;
pub mod session;
pub mod settle;
pub mod settled;
pub mod stretch;
mod sums;
pub mod topology;
pub mod work;

pub use self::admission::{Admission, Open};
use self::asks::Asks;
use self::committer::{Committer, Means};
use self::docket::Docket;
use self::error::HubError;
use self::feed::Feed;
use self::latest::LatestKept;
use self::limits::{Bounds, LATEST_FROM, LEASES_PER_NODE_MAX};
use self::presence::Presence;
use self::queue::{Lead, Place};
use self::readers::Readers;
use self::recovery::Marks;
use self::resolver::Resolver;
use self::seal::SealKey;
use self::stretch::Stretches;
use self::sums::Sums;
use self::work::{Answer, Work};
use crate::ambient::{Clock, Entropy};
use crate::store::{Space, Store};

/// A node that has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal {
    /// Its tenant.
    pub tenant: TenantId,
    /// The node.
    pub node: NodeId,
}

const DAY_MS: u64 = 24 * 3_600_000;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest revisions that are kept whatever readers have acknowledged.
    pub revisions_min: u64,
    /// A writer silent for longer is closed and holds the horizon no more, milliseconds.
    pub expiry_ms: u64,
    /// The account of a settled conflict is kept for so long, milliseconds.
    pub settled_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { revisions_min: 10_000, expiry_ms: 30 * DAY_MS, settled_ms: 90 * DAY_MS }
    }
}

/// How much one page of a catch-up holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// Most rows read for one page.
    pub rows_max: usize,
    /// Weight at which a page ends, bytes; one change may pass it.
    pub bytes_max: usize,
    /// A reader that begins from nothing is told by the records' latest revisions what to pass over, where the log has so many.
    pub latest_from: u64,
}

impl Default for Paging {
    fn default() -> Self {
        Self { rows_max: PAGE_CHANGES_MAX, bytes_max: PAGE_BYTES_MAX, latest_from: LATEST_FROM }
    }
}

/// What a hub is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Quotas.
    pub admission: Arc<dyn Admission>,
    /// How long things are kept.
    pub retention: Retention,
    /// How much one page of a catch-up holds.
    pub paging: Paging,
}

/// One tenant on this gateway.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// Its committer.
    pub committer: Committer,
    /// Its live feed.
    pub feed: Feed,
    seal: SealKey,
    sums: Sums,
    marks: Mutex<Option<Marks>>,
}

impl Tenant {
    fn marks(&self) -> Option<Marks> {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set_marks(&self, marks: Marks) {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = Some(marks);
    }
}

/// Work that waits for its tenant's committer.
#[derive(Debug)]
pub(crate) struct Entered {
    tenant: Arc<Tenant>,
    means: Means,
    queued: Place,
    /// Its turn to lead, where that has come.
    lead: Option<Lead>,
}

impl Entered {
    /// Waits until there is an answer, or it is its turn to commit for all who wait: whether it is.
    pub(crate) async fn leads(&mut self) -> bool {
        if self.lead.is_none() {
            self.lead = self.queued.turn().await;
        }
        self.lead.is_some()
    }

    /// Waits for the answer.
    pub(crate) async fn answer(mut self) -> Result<Answer, HubError> {
        self.leads().await;
        let Self { tenant, means, queued, lead } = self;
        tenant.committer.answered(&means, &tenant.feed, queued, lead).await
    }
}

/// The hub.
#[derive(Debug)]
pub struct Hub {
    parts: Parts,
    name: Option<String>,
    bounds: Bounds,
    tenants: Mutex<BTreeMap<TenantId, Arc<Tenant>>>,
    presence: Arc<Presence>,
    readers: Readers,
    docket: Arc<Docket>,
    resolver: Option<Arc<dyn Resolver>>,
    asks: Asks,
    /// Turns at putting a page together; held by nobody who waits for a reader.
    pages: Semaphore,
    stretches: Stretches,
    latest: LatestKept,
}

/// Tries at a lease that other catch-ups of the node are renewing.
const LEASE_TRIES_MAX: usize = 8;

/// What a catch-up keeps from being pruned, and for how long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Lease {
    floor: Revision,
    until_ms: u64,
}

impl Hub {
    /// A hub over a store.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let pages = Semaphore::new(limits::PAGES_AT_ONCE_MAX);
        let (readers, presence, docket) = (Readers::default(), Arc::default(), Arc::default());
        let (bounds, tenants) = (Bounds::default(), Mutex::default());
        let (name, resolver, asks) = (None, None, Asks::new(0));
        Self {
            parts,
            name,
            bounds,
            tenants,
            presence,
            readers,
            docket,
            resolver,
            asks,
            pages,
            stretches: Stretches::default(),
            latest: LatestKept::default(),
        }
    }

    /// Those who read here.
    #[must_use]
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// With the name by which the registry tells this gateway from others.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// With other bounds than the product's.
    #[must_use]
    pub fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    pub(crate) fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.parts.store.as_ref()
    }
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.parts.clock.as_ref()
    }
    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.parts.entropy.as_ref()
    }
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// A tenant's part of this gateway. Whether the tenant exists is for the store to say.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            let committer = Committer::new(id.clone(), self.bounds.queue_max);
            let feed = Feed::new(self.bounds.ring_batches_max);
            let (seal, sums, marks) = (SealKey::default(), Sums::default(), Mutex::default());
            Arc::new(Tenant { id: id.clone(), committer, feed, seal, sums, marks })
        };
        Arc::clone(tenants.entry(id.clone()).or_insert_with(fresh))
    }

    /// Makes a tenant with an empty log; false when it exists.
    ///
    /// # Errors
    /// Store errors.
    pub async fn create_tenant(&self, id: &TenantId) -> Result<bool, HubError> {
        let head = Head::empty(LogId(self.entropy().bytes16()));
        Ok(self.store().create_tenant(id, &head).await?)
    }

    pub(crate) async fn submit(&self, tenant: &TenantId, work: Work) -> Result<Answer, HubError> {
        self.enter(&self.tenant(tenant), work)?.answer().await
    }

    /// Puts work behind what waits for a tenant's committer: what is entered first is decided first.
    pub(crate) fn enter(&self, tenant: &Arc<Tenant>, work: Work) -> Result<Entered, HubError> {
        let means = Means {
            store: Arc::clone(&self.parts.store),
            clock: Arc::clone(&self.parts.clock),
            commit_bytes_max: self.readers.share(),
            version_writers_kept: self.bounds.version_writers_kept,
            ahead_mutations_min: self.bounds.ahead_mutations_min,
            gather_works_min: self.bounds.gather_works_min,
            docket: Arc::clone(&self.docket),
        };
        let queued = tenant.committer.enqueue(work)?;
        Ok(Entered { tenant: Arc::clone(tenant), means, queued, lead: None })
    }

    /// Lets go of what is kept for readers and given to none any more.
    pub(crate) fn forget_old(&self, now_ms: u64) {
        self.stretches.forget_old(now_ms);
        self.latest.forget_unused(now_ms);
    }

    /// Looks whether another gateway has moved a tenant's log, and reads what it appended into the ring; where that
    /// is more than a page, or some of it may have been pruned already, the ring begins anew at the head instead. A
    /// wake-up calls this early; polling calls it at least every [`limits::POLL_MS`].
    ///
    /// # Errors
    /// Store errors.
    pub async fn poll(&self, id: &TenantId) -> Result<Head, HubError> {
        let tenant = self.tenant(id);
        let now_ms = self.clock().now_ms();
        tenant.sums.forget_old(now_ms);
        self.forget_old(now_ms);
        let before = tenant.feed.end();
        let head = self.store().head(id).await?;
        tenant.feed.renew(head);
        if let Some(before) = before
            && before.log_id == head.log_id
            && !Fault::RingOfOtherChain.is_planted()
            && !self.still_holds(id, &before, &head).await?
        {
            // The database was put back: what the ring holds is of a log that is gone.
            tenant.feed.forget(before);
        }
        let last = tenant.feed.end_or(head);
        if last.commit < head.commit && last.log_id == head.log_id {
            let query = crate::store::LogQuery {
                after: last.revision,
                rows_max: PAGE_CHANGES_MAX,
                bytes_max: PAGE_BYTES_MAX,
                keys: std::collections::BTreeSet::new(),
                with_cells: false,
            };
            let read = self.store().log_page(id, &query).await?;
            // Of what lies below the horizon rows may be gone, and with them that a record left its cell.
            let is_whole = read.head.horizon <= last.revision;
            if read.reaches_head && is_whole {
                tenant.feed.push(feed::Batch::new(feed::Before::of(&last), read.head, read.entries));
            } else {
                tenant.feed.restart(read.head);
            }
        }
        tenant.feed.note_moved(head.commit);
        Ok(head)
    }

    /// Keeps the horizon at or below a resume position's floor. A node has [`LEASES_PER_NODE_MAX`] leases; catch-ups
    /// that share one keep what the lower of them needs, until the later of their ends.
    async fn put_lease(&self, who: &Principal, id: LogId, lease: Lease) -> Result<(), HubError> {
        let mut key = who.node.as_bytes().to_vec();
        key.push(id.as_bytes().first().map_or(0, |byte| byte % LEASES_PER_NODE_MAX));
        let now_ms = self.clock().now_ms();
        for _ in 0..LEASE_TRIES_MAX {
            let row = self.store().plain_get(&who.tenant, Space::Lease, &key).await?;
            let held: Option<Lease> = row.as_ref().and_then(|row| serde_json::from_slice(&row.value).ok());
            let joined = match held.filter(|held| held.until_ms > now_ms) {
                Some(held) => {
                    Lease { floor: held.floor.min(lease.floor), until_ms: held.until_ms.max(lease.until_ms) }
                }
                None => lease,
            };
            let value = serde_json::to_vec(&joined).map_err(|e| HubError::internal(e.to_string()))?;
            let version = row.map_or(0, |row| row.version);
            if self.store().plain_put(&who.tenant, Space::Lease, &key, &value, version).await? {
                return Ok(());
            }
        }
        Err(HubError::transient(Reason::Overloaded, "too many catch-ups of this node at once", 200))
    }
}
