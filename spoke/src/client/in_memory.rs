//! A spoke without a folder and without a hub.

use std::sync::Arc;

use semantics::ids::{Domain, NodeId};
use semantics::reason::Refusal;

use super::{Parts, Spoke};
use crate::ambient::{SystemClock, SystemEntropy};
use crate::replica::memory::MemoryStore;
use crate::replica::{Entropy as _, Identity, Replica};
use crate::transport::NoHub;

impl Spoke {
    /// A spoke whose replica is in memory and that no hub hears of: for trying things, and for tests. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// None that a store in memory has.
    pub async fn in_memory() -> Result<Self, Refusal> {
        let entropy = Arc::new(SystemEntropy);
        let identity = Identity {
            node: NodeId(entropy.bytes16()),
            domain: Domain::default_domain(),
            place: "memory".to_owned(),
        };
        let replica = Replica::open(Arc::new(MemoryStore::new()), identity, entropy.clone()).await?;
        Ok(Self::over(Parts {
            replica: Arc::new(replica),
            transport: Arc::new(NoHub),
            endpoints: 1,
            clock: Arc::new(SystemClock::new()),
            entropy,
        }))
    }
}
