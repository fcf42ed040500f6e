//! Opening a spoke on its data folder.

use std::path::Path;
use std::sync::Arc;

use semantics::reason::Refusal;

use super::{Parts, Spoke};
use crate::ambient::{Clock, SystemClock, SystemEntropy};
use crate::error::ReplicaError;
use crate::folder::{Folder, Paths, SpokeConfig};
use crate::replica::sqlite::SqliteReplica;
use crate::replica::{Entropy, Identity, Replica};
use crate::settings::Reach;
use crate::transport::HubTransport;
use crate::trust::{AccessTokens, NodeKey};

impl Spoke {
    /// Opens the replica of a folder that has joined, and takes the folder: no other process can open it meanwhile.
    /// Nothing is synced before [`Spoke::start`].
    ///
    /// # Errors
    /// `NOT_JOINED`, `REPLICA_LOCKED`, `STORE_CORRUPT`, `STORE_UNAVAILABLE`.
    pub async fn open(dir: &Path) -> Result<Self, Refusal> {
        Self::open_reaching(dir, &Reach::default()).await
    }

    /// The same, reaching the hubs so.
    ///
    /// # Errors
    /// As [`Spoke::open`].
    pub async fn open_reaching(dir: &Path, reach: &Reach) -> Result<Self, Refusal> {
        let folder = Folder::open(dir)?;
        let config = folder.config()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let replica = open_replica(&folder, &config, Arc::clone(&entropy)).await?;
        let transport =
            hub_transport(folder.paths(), &config, reach, Arc::clone(&clock), Arc::clone(&entropy))?;
        let parts = Parts {
            replica: Arc::new(replica),
            endpoints: transport.endpoints(),
            transport: Arc::new(transport),
            clock,
            entropy,
        };
        Ok(Self::over(parts).keeping(folder))
    }
}

/// The replica of a folder.
pub(crate) async fn open_replica(
    folder: &Folder,
    config: &SpokeConfig,
    entropy: Arc<dyn Entropy>,
) -> Result<Replica, Refusal> {
    let store = SqliteReplica::open(&folder.paths().replica()).await.map_err(ReplicaError::from)?;
    let identity = Identity { node: config.node, domain: config.domain.clone(), place: folder.place()? };
    Ok(Replica::open(Arc::new(store), identity, entropy).await?)
}

/// How the hubs of a folder are reached; needs no lock.
pub(crate) fn hub_transport(
    paths: &Paths,
    config: &SpokeConfig,
    reach: &Reach,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<HubTransport, Refusal> {
    let key = Arc::new(NodeKey::load(&paths.key())?);
    let tokens = AccessTokens::new(key, config.tenant.clone(), config.node);
    let hubs = if reach.hubs.is_empty() { &config.hubs } else { &reach.hubs };
    Ok(HubTransport::new(hubs.clone(), config.ca_pin, tokens, reach.compression, clock, entropy))
}
