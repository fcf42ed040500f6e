//! The replica: a confirmed layer (exactly the hub's state at the cursor), a pending layer (the outbox replayed on
//! top), and the outbox. Each public call is one transaction, so a crash between any two calls leaves a whole
//! state, and what a call returned is durable.

mod apply;
mod changes;
mod digests;
pub mod entry;
mod epoch;
pub mod examine;
mod fallen;
mod greet;
mod kept;
mod kinds;
pub mod memory;
mod outbox;
pub mod pages;
mod pending;
mod places;
mod read;
mod recover;
mod settle;
pub mod sqlite;
mod stamps;
mod state;
pub mod store;
pub mod urgent;
mod work;
mod write;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use semantics::decide::Context;
use semantics::envelope::Placement;
use semantics::ids::Writer;
use semantics::reason::Reason;

pub use self::greet::{Greeting, WelcomeTaken};
use self::kinds::Kinds;
pub use self::places::PLACES_MAX;
use self::places::Places;
pub use self::read::{Item, ReplicaStatus};
pub use self::state::{Backups, Condition, Identity, Report};
use self::store::{MetaKey, Mode, ReplicaStore, ReplicaTxn};
pub use self::write::{OUTBOX_BYTES_MAX, OUTBOX_ENTRIES_MAX, Write, WriteOp, WriteOutcome};
use crate::error::{ReplicaError, StoreError, refused};

/// Where randomness comes from.
pub trait Entropy: Send + Sync + Debug {
    /// Sixteen bytes that nobody can guess and that never come again.
    fn bytes16(&self) -> [u8; 16];
}

/// A replica over its store. Cheap to share; concurrent calls take turns where they write.
#[derive(Debug)]
pub struct Replica {
    store: Arc<dyn ReplicaStore>,
    entropy: Arc<dyn Entropy>,
    identity: Identity,
    kinds: Mutex<Option<(u64, Arc<Kinds>)>>,
    places: Places,
}

impl Replica {
    /// Opens a store as this node's replica. An empty store becomes one; a replica that was last opened in another
    /// place is a copy and will ask for an epoch of its own.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` when the store is another node's replica; [`ReplicaError::Store`] when it fails.
    pub async fn open(
        store: Arc<dyn ReplicaStore>,
        identity: Identity,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ReplicaError> {
        let mut txn = store.begin(Mode::Write).await?;
        let held: Option<Identity> = state::load(&mut *txn, MetaKey::Identity).await?;
        match held {
            Some(held) if held.node != identity.node => {
                return refused(Reason::AlreadyExists, format!("this is the replica of node {}", held.node));
            }
            Some(held) if held.place != identity.place => {
                let mut condition = state::condition(&mut *txn).await?;
                condition.needs_epoch = true;
                state::save(&mut *txn, MetaKey::Condition, &condition).await?;
            }
            _ => {}
        }
        state::save(&mut *txn, MetaKey::Identity, &identity).await?;
        txn.commit().await?;
        Ok(Self { store, entropy, identity, kinds: Mutex::new(None), places: Places::default() })
    }

    /// Whose replica this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn read(&self) -> Result<Box<dyn ReplicaTxn>, StoreError> {
        self.store.begin(Mode::Read).await
    }

    async fn write_txn(&self) -> Result<Box<dyn ReplicaTxn>, StoreError> {
        self.store.begin(Mode::Write).await
    }

    fn context(&self) -> Context {
        let domain = self.identity.domain.clone();
        Context::new(Placement { domain, subject: None })
    }

    /// The writer, or what stands in for it before the first welcome.
    fn writer_or_provisional(&self, writer: Option<Writer>) -> Writer {
        writer.unwrap_or(Writer { node: self.identity.node, epoch: 0 })
    }

    /// The kinds as of this transaction. Not to be called once the transaction has changed declarations.
    async fn kinds(&self, txn: &mut dyn ReplicaTxn) -> Result<Arc<Kinds>, StoreError> {
        let generation: u64 = state::load(txn, MetaKey::Kinds).await?.unwrap_or(0);
        let held = self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, kinds)) = held
            && at == generation
        {
            return Ok(kinds);
        }
        let kinds = Arc::new(Kinds::load(txn).await?);
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, Arc::clone(&kinds)));
        Ok(kinds)
    }
}
