//! A spoke as applications hold it: reads and writes of the local replica, which never touch a network, and a task
//! beside them that syncs with the hub.
//!
//! ```
//! use std::sync::Arc;
//!
//! use semantics::ids::{Domain, Key, Kind, NodeId, RecordId};
//! use spoke::ambient::{SystemClock, SystemEntropy};
//! use spoke::client::{Parts, Spoke};
//! use spoke::replica::{Identity, Replica, memory::MemoryStore};
//! use spoke::transport::NoHub;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity {
//!     node: NodeId([7; 16]),
//!     domain: Domain::default_domain(),
//!     place: "here".to_owned(),
//! };
//! let entropy = Arc::new(SystemEntropy);
//! let replica = Replica::open(Arc::new(MemoryStore::new()), identity, entropy.clone()).await?;
//! let spoke = Spoke::over(Parts {
//!     replica: Arc::new(replica),
//!     transport: Arc::new(NoHub),
//!     endpoints: 1,
//!     clock: Arc::new(SystemClock::new()),
//!     entropy,
//! });
//!
//! let key = Key { kind: Kind::new("entity")?, id: RecordId::new("fern-1")? };
//! let body = serde_json::json!({"name": "fern", "height_cm": 12});
//! spoke.put(key.clone(), body.as_object().cloned().unwrap_or_default()).await?;
//!
//! let item = spoke.get(&key).await?.ok_or("it was just written")?;
//! assert!(item.is_pending); // Shown here at once; no hub has confirmed it.
//! spoke.close().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod compared;
mod in_memory;
pub(crate) mod open;
mod scheduled;
mod seen;
mod synced;
mod waited;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use semantics::envelope::Placement;
use semantics::ids::{Digest, Key, MutationId, Revision};
use semantics::reason::Refusal;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::compared::{Compared, DIFFERENCES_MAX};
pub use self::waited::{Grade, WAITED_MAX, Waited};
use crate::ambient::Clock;
use crate::engine::Engine;
use crate::import::{self, Options, Summary};
use crate::replica::entry::Entry;
use crate::replica::pages::{Bounds, Part};
use crate::replica::store::Range;
use crate::replica::{Entropy, Item, Replica, ReplicaStatus, Write, WriteOp, WriteOutcome};
use crate::runtime::{self, Command, Handle, Progress, Transport};
use crate::sync::Config;

/// What a spoke is made of.
#[derive(Debug)]
pub struct Parts {
    /// The replica.
    pub replica: Arc<Replica>,
    /// How hubs are reached.
    pub transport: Arc<dyn Transport>,
    /// How many endpoints the transport has, at least 1.
    pub endpoints: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A spoke. Cheap to share by reference; [`Spoke::close`] ends it.
pub struct Spoke {
    replica: Arc<Replica>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    handle: Handle,
    /// Counts local writes, for those who watch.
    written: watch::Sender<u64>,
    /// Whether a round is asked for before the schedule's turn.
    is_asked: AtomicBool,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Held for as long as the replica is ours.
    keep: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl fmt::Debug for Spoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spoke").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl Spoke {
    /// A spoke over its parts. Must be called inside a tokio runtime; nothing is synced before [`Spoke::start`].
    #[must_use]
    pub fn over(parts: Parts) -> Self {
        let Parts { replica, transport, endpoints, clock, entropy } = parts;
        let seed = entropy.bytes16().iter().fold(0_u64, |seed, byte| (seed << 8) ^ u64::from(*byte));
        let config = Config { endpoints: endpoints.max(1), seed, ..Config::default() };
        let engine = Engine::new(Arc::clone(&replica), config);
        let stop = CancellationToken::new();
        let (handle, mailbox) = runtime::handle(engine.status(), stop.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(runtime::run(engine, Arc::clone(&transport), Arc::clone(&clock), mailbox));
        let (written, _) = watch::channel(0);
        Self {
            replica,
            transport,
            clock,
            handle,
            written,
            is_asked: AtomicBool::new(false),
            tasks,
            stop,
            keep: None,
        }
    }

    /// Keeps something alive for as long as the spoke is: the lock on its folder.
    #[must_use]
    pub fn keeping(mut self, kept: impl std::any::Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(kept));
        self
    }

    /// The replica.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Ends the task that syncs, and then lets go of the replica.
    pub async fn close(self) {
        self.shut().await;
    }

    /// Ends the task that syncs. Reads and writes go on.
    pub async fn shut(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.transport.closed().await;
    }
}

/// Writes: durable when they return, shown at once, sent when there is a hub to send them to.
impl Spoke {
    /// Sets a record's whole body. `None`: it already was so.
    ///
    /// # Errors
    /// Those of [`Replica::write`], as refusals.
    pub async fn put(&self, key: Key, body: Map<String, Value>) -> Result<Option<MutationId>, Refusal> {
        self.write(Write { key, op: WriteOp::Put(body), placement: None }).await
    }

    /// Sets and removes top-level fields of a live record.
    ///
    /// # Errors
    /// Those of [`Replica::write`], as refusals.
    pub async fn patch(
        &self,
        key: Key,
        set: Map<String, Value>,
        remove: Vec<String>,
    ) -> Result<Option<MutationId>, Refusal> {
        self.write(Write { key, op: WriteOp::Patch { set, remove }, placement: None }).await
    }

    /// Deletes a live record.
    ///
    /// # Errors
    /// Those of [`Replica::write`], as refusals.
    pub async fn delete(&self, key: Key) -> Result<Option<MutationId>, Refusal> {
        self.write(Write { key, op: WriteOp::Delete, placement: None }).await
    }

    /// Moves a live record to another domain or subject; its body stays.
    ///
    /// # Errors
    /// Those of [`Replica::write`], as refusals.
    pub async fn place(&self, key: Key, to: Placement) -> Result<Option<MutationId>, Refusal> {
        let op = WriteOp::Patch { set: Map::new(), remove: Vec::new() };
        self.write(Write { key, op, placement: Some(to) }).await
    }

    /// One write.
    ///
    /// # Errors
    /// Those of [`Replica::write`], as refusals.
    pub async fn write(&self, write: Write) -> Result<Option<MutationId>, Refusal> {
        let id = self.replica.write(write, self.clock.now_ms()).await?;
        self.changed();
        Ok(id)
    }

    /// Writes that take effect together or not at all, everywhere.
    ///
    /// # Errors
    /// Those of [`Replica::write_group`], as refusals.
    pub async fn group(&self, writes: Vec<Write>) -> Result<Vec<Option<MutationId>>, Refusal> {
        let ids = self.replica.write_group(writes, self.clock.now_ms()).await?;
        self.changed();
        Ok(ids)
    }

    /// Many writes in one local transaction, each for itself.
    ///
    /// # Errors
    /// Those of [`Replica::write_all`], as refusals.
    pub async fn write_all(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, Refusal> {
        let outcomes = self.replica.write_all(writes, self.clock.now_ms()).await?;
        self.changed();
        Ok(outcomes)
    }

    /// Imports a file, see [`crate::import::run`].
    ///
    /// # Errors
    /// Those of [`crate::import::run`], as refusals.
    pub async fn import(
        &self,
        path: &Path,
        options: &Options,
        progress: &mut (dyn FnMut(import::Progress) + Send),
    ) -> Result<Summary, Refusal> {
        let summary = import::run(&self.replica, path, options, self.clock.now_ms(), progress).await?;
        self.changed();
        Ok(summary)
    }

    /// Writes a mutation that was set aside anew.
    ///
    /// # Errors
    /// Those of [`Replica::outbox_retry`], as refusals.
    pub async fn retry(&self, id: MutationId) -> Result<Option<MutationId>, Refusal> {
        let id = self.replica.outbox_retry(id, self.clock.now_ms()).await?;
        self.changed();
        Ok(id)
    }

    /// Forgets a mutation that was set aside.
    ///
    /// # Errors
    /// Those of [`Replica::outbox_drop`], as refusals.
    pub async fn drop_entry(&self, id: MutationId) -> Result<(), Refusal> {
        self.replica.outbox_drop(id).await?;
        self.changed();
        Ok(())
    }

    /// Tells the task that syncs, and those who watch, that something was written through [`Spoke::replica`].
    pub fn changed(&self) {
        self.handle.outbox_changed();
        self.written.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Reads: the local replica, own writes included.
impl Spoke {
    /// A live record.
    ///
    /// # Errors
    /// Those of [`Replica::get`], as refusals.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>, Refusal> {
        Ok(self.replica.get(key).await?)
    }

    /// Live records in key order, see [`Replica::page_where`].
    ///
    /// # Errors
    /// Those of [`Replica::page_where`], as refusals.
    pub async fn list(
        &self,
        range: &Range,
        equals: Option<(&str, &Value)>,
        limit: usize,
    ) -> Result<Vec<Item>, Refusal> {
        Ok(self.replica.page_where(range, equals, limit).await?)
    }

    /// The same as a page that also ends by bytes, see [`Replica::records_part`].
    ///
    /// # Errors
    /// Those of [`Replica::records_part`], as refusals.
    pub async fn list_part(
        &self,
        range: &Range,
        equals: Option<(&str, &Value)>,
        bounds: Bounds,
    ) -> Result<Part<Item>, Refusal> {
        Ok(self.replica.records_part(range, equals, bounds).await?)
    }

    /// Outbox entries, see [`Replica::outbox`].
    ///
    /// # Errors
    /// Those of [`Replica::outbox`], as refusals.
    pub async fn outbox(&self, after_order: Option<u64>, limit: usize) -> Result<Vec<Entry>, Refusal> {
        Ok(self.replica.outbox(after_order, limit).await?)
    }

    /// What the replica says of itself.
    ///
    /// # Errors
    /// Those of [`Replica::status`], as refusals.
    pub async fn status(&self) -> Result<ReplicaStatus, Refusal> {
        Ok(self.replica.status().await?)
    }

    /// Revision and digest of the confirmed records, made from their content.
    ///
    /// # Errors
    /// Those of [`Replica::confirmed_digest`], as refusals.
    pub async fn digest(&self) -> Result<(Revision, Digest), Refusal> {
        Ok(self.replica.confirmed_digest().await?)
    }

    /// Revision and digest of what the confirmed records say, see [`Replica::content_digest`].
    ///
    /// # Errors
    /// Those of [`Replica::content_digest`], as refusals.
    pub async fn content_digest(&self) -> Result<(Revision, Digest), Refusal> {
        Ok(self.replica.content_digest().await?)
    }

    /// Moves whenever this spoke wrote something.
    #[must_use]
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The names of the endpoints, in the order of the settings.
    #[must_use]
    pub fn endpoint_names(&self) -> Vec<String> {
        self.transport.endpoints()
    }

    /// Moves whenever the task that syncs did something.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.handle.progress()
    }
}

/// Syncing.
impl Spoke {
    /// Syncs from now on, until [`Spoke::close`].
    ///
    /// # Errors
    /// `INTERNAL` when the task that syncs has ended.
    pub async fn start(&self) -> Result<(), Refusal> {
        self.handle.ask(Command::Start).await
    }

    /// Has a mutation that waits sent before all others, with what it was made on. One that took effect already is as good.
    ///
    /// # Errors
    /// Those of [`Replica::hurry`], as refusals.
    pub async fn hurry(&self, id: MutationId) -> Result<(), Refusal> {
        self.replica.hurry(id).await?;
        self.changed();
        Ok(())
    }

    /// Has what was written so far go out before the schedule's turn, where there is one (see [`Spoke::sync_by`]); the
    /// order in which it goes stays as it is.
    pub fn sync_soon(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
        self.changed();
    }

    /// Time.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Asks a mutation back, so that others may overtake it.
    ///
    /// # Errors
    /// Those of [`Replica::withdraw`], as refusals.
    pub async fn withdraw(&self, id: MutationId) -> Result<(), Refusal> {
        self.replica.withdraw(id).await?;
        self.handle.ask(Command::Withdraw).await
    }
}
