//! Backups: a folder that holds a whole store as of one moment and says what it is; and stores that begin again from
//! one.
//!
//! - [`create`] reads while hubs go on. The folder appears whole, synced to the disk and checked, or not at all.
//!   Only then does the store remember, and through it the spokes learn, what is backed up; and the access log of the
//!   tenant `hub` has an entry of it.
//! - [`restore`] checks all of the folder before it touches the store, and what it writes is there whole or not at all.
//!   Every log becomes a new one that names the old one, and says so in its tenant's access log.
//! - No key is in a backup (whoever can read a backup could else be the hub): the folder `keys` and the file
//!   `operator.token` of the data folder are to be kept apart. A backup names the hub it is of by the digest of its
//!   CA's public key.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use semantics::access::{Entry, Event};
use semantics::ids::{CommitNumber, Digest, LogId, Revision};
use semantics::reason::Reason;
use semantics::recovery::BackedUp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::access::{self, Who};
use crate::ambient::{Clock, Entropy};
use crate::auth::{self, KEYS_FOLDER, OPERATOR_TOKEN_FILE};
use crate::config::{Config, StoreAt};
use crate::hub::error::HubError;
use crate::place;
use crate::store::archive::{self, Heads, Origin};
use crate::store::sqlite::DATABASE_FILE;
use crate::store::{Space, StoreError};

mod restore;

pub use self::restore::{Answer, restore};

/// File of the tables in a backup.
pub const TABLES_FILE: &str = "hub.sqlite";
/// File that says what a backup is.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of the form of backups.
pub const FORMAT: u32 = 1;
/// Largest manifest, bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes read at once for a digest.
const READ_BYTES: usize = 1024 * 1024;

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// The hub: SHA-256 of its CA's public key; `None` for a store that no hub has opened.
    pub hub: Option<Digest>,
    /// When, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// SHA-256 of [`TABLES_FILE`].
    pub tables_digest: Digest,
    /// Its length, bytes.
    pub tables_bytes: u64,
    /// Where each tenant's log ends, in byte order of their names.
    pub tenants: Vec<TenantHead>,
    /// What of the data folder is not in it and is to be kept apart.
    pub kept_apart: Vec<String>,
}

/// Where a tenant's log ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantHead {
    /// The tenant.
    pub tenant: String,
    /// Its log.
    pub log_id: LogId,
    /// Its last commit.
    pub commit: CommitNumber,
    /// Its last revision.
    pub revision: Revision,
    /// Its chain.
    pub chain: Digest,
}

/// Where the settings say that the store is.
pub(crate) fn origin(config: &Config) -> Result<Origin<'_>, HubError> {
    match &config.store {
        StoreAt::Memory => {
            Err(HubError::new(Reason::StoreUnsafe, "a store in memory has nothing that could be backed up"))
        }
        StoreAt::Folder => Ok(Origin::Folder(&config.data)),
        StoreAt::Postgres(url) => Ok(Origin::Postgres(url)),
    }
}

/// Makes a backup in a folder that is not there yet, or empty.
///
/// # Errors
/// ALREADY_EXISTS for a folder that holds something; STORE_UNAVAILABLE for a folder that cannot be written or a store
/// that does not answer; STORE_CORRUPT when what was written does not read back; STALE when a log became another one
/// meanwhile; store errors. No folder is left, unless all but the last step was done: remembering that it is there.
pub async fn create(config: &Config, folder: &Path, clock: &dyn Clock) -> Result<Manifest, HubError> {
    let at = origin(config)?;
    if !is_vacant(folder)? {
        let detail = format!("{} is not empty: give a folder for this backup alone", folder.display());
        return Err(HubError::new(Reason::AlreadyExists, detail));
    }
    // Spokes keep what they send from here on, until a backup holds it.
    let begun = archive::heads(at).await?.into_iter();
    let nothing = BackedUp { revision: Revision::ZERO, time_ms: 0 };
    let begun: Vec<_> = begun.map(|(tenant, head)| (tenant, head.log_id, nothing)).collect();
    archive::note(at, &begun).await?;
    let partial = beside(folder, clock);
    let made = match write(at, &partial, clock).await {
        Ok(manifest) => still(at, manifest).await,
        Err(error) => Err(error),
    };
    let published = made.and_then(|manifest| {
        fs::rename(&partial, folder).map_err(|e| unwritten(folder, &e))?;
        sync_folder(&parent(folder))?;
        Ok(manifest)
    });
    if published.is_err() {
        drop(fs::remove_dir_all(&partial));
    }
    let manifest = published?;
    let held = manifest.tenants.iter().filter_map(|head| {
        let tenant = semantics::ids::TenantId::new(head.tenant.clone()).ok()?;
        Some((tenant, head.log_id, BackedUp { revision: head.revision, time_ms: manifest.time_ms }))
    });
    archive::note(at, &held.collect::<Vec<_>>()).await?;
    let hub = auth::hub_tenant()?;
    if manifest.tenants.iter().any(|head| head.tenant == hub.as_str()) {
        let tenants = u64::try_from(manifest.tenants.len()).unwrap_or(u64::MAX);
        let event = Event::BackupCreated { digest: manifest.tables_digest, tenants };
        let entry = Entry::new(clock.now_ms(), &Who::Hub.to_string(), event);
        access::note_beside(at, &hub, &entry).await?;
    }
    Ok(manifest)
}

/// A backup of a log that became another one while it was made is of no use to the one that is there now.
async fn still(at: Origin<'_>, manifest: Manifest) -> Result<Manifest, HubError> {
    let there = archive::heads(at).await?;
    let is_other = |head: &&TenantHead| {
        there.iter().any(|(tenant, now)| tenant.as_str() == head.tenant && now.log_id != head.log_id)
    };
    match manifest.tenants.iter().find(is_other) {
        None => Ok(manifest),
        Some(head) => {
            let detail = format!(
                "the log of {} became another one while this backup was made (a restore, or a failover of the database)",
                head.tenant
            );
            Err(HubError::new(Reason::Stale, detail))
        }
    }
}

/// Writes all of a backup and reads it again.
async fn write(at: Origin<'_>, partial: &Path, clock: &dyn Clock) -> Result<Manifest, HubError> {
    place::make_folder(partial)?;
    let tables = partial.join(TABLES_FILE);
    place::make_private(&tables)?;
    let time_ms = clock.now_ms();
    let heads = archive::take(at, &tables).await?;
    File::open(&tables).and_then(|file| file.sync_all()).map_err(|e| unwritten(&tables, &e))?;
    let (tables_digest, tables_bytes) = digest(&tables)?;
    let manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        hub: hub_of(&tables).await?,
        time_ms,
        tables_digest,
        tables_bytes,
        tenants: tenants(&heads),
        kept_apart: vec![format!("{KEYS_FOLDER}/"), OPERATOR_TOKEN_FILE.to_owned()],
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| HubError::internal(e.to_string()))?;
    let at = partial.join(MANIFEST_FILE);
    place::make_private(&at)?;
    fs::write(&at, text).and_then(|()| File::open(&at)?.sync_all()).map_err(|e| unwritten(&at, &e))?;
    sync_folder(partial)?;
    let read = check(partial)?;
    if read != manifest || tenants(&archive::open(&tables).await?) != manifest.tenants {
        return Err(HubError::new(Reason::StoreCorrupt, "the backup reads otherwise than it was written"));
    }
    Ok(manifest)
}

/// The hub that a store is of.
async fn hub_of(tables: &Path) -> Result<Option<Digest>, HubError> {
    let value = archive::value(tables, &auth::hub_tenant()?, Space::Hub, auth::CA.as_bytes()).await?;
    let corrupt = |_| HubError::new(Reason::StoreCorrupt, "the stored digest of the CA");
    value.map(|value| Digest::from_slice(&value).map_err(corrupt)).transpose()
}

fn tenants(heads: &Heads) -> Vec<TenantHead> {
    let of = |(tenant, head): &(semantics::ids::TenantId, semantics::commit::Head)| TenantHead {
        tenant: tenant.to_string(),
        log_id: head.log_id,
        commit: head.commit,
        revision: head.revision,
        chain: head.chain,
    };
    heads.iter().map(of).collect()
}

/// Reads what a backup says it is, and whether its tables are the bytes that it names.
///
/// # Errors
/// NOT_FOUND when the folder is no backup; STORE_CORRUPT when it is torn or damaged; PROTOCOL_VERSION for a form that
/// this program does not know.
pub fn check(folder: &Path) -> Result<Manifest, HubError> {
    let path = folder.join(MANIFEST_FILE);
    let name = path.display();
    let none =
        |e: io::Error| HubError::new(Reason::NotFound, format!("no whole backup: cannot read {name}: {e}"));
    let corrupt =
        |detail: String| HubError::new(Reason::StoreCorrupt, format!("the backup is damaged: {detail}"));
    let mut text = Vec::new();
    File::open(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)).map_err(none)?;
    let form: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| corrupt(format!("{name}: {e}")))?;
    let format = form.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(u64::from(FORMAT)) {
        let said = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
        let detail = format!("{name}: form {said} of backups, this hubward reads form {FORMAT}");
        return Err(HubError::new(Reason::ProtocolVersion, detail));
    }
    let manifest: Manifest = serde_json::from_value(form).map_err(|e| corrupt(format!("{name}: {e}")))?;
    let tables = folder.join(TABLES_FILE);
    let (found, bytes) = digest(&tables)?;
    if bytes != manifest.tables_bytes {
        let detail =
            format!("{} has {bytes} bytes, its manifest says {}", tables.display(), manifest.tables_bytes);
        return Err(corrupt(detail));
    }
    if found != manifest.tables_digest {
        let detail = format!(
            "{} has the digest {found}, its manifest says {}",
            tables.display(),
            manifest.tables_digest
        );
        return Err(corrupt(detail));
    }
    Ok(manifest)
}

/// SHA-256 and length of a file.
fn digest(path: &Path) -> Result<(Digest, u64), HubError> {
    let failed = |e: io::Error| {
        HubError::new(Reason::StoreCorrupt, format!("the backup is damaged: {}: {e}", path.display()))
    };
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0_u64, vec![0; READ_BYTES]);
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        hasher.update(part);
        bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok((Digest(hasher.finalize().into()), bytes))
}

fn is_vacant(folder: &Path) -> Result<bool, HubError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(unwritten(folder, &e)),
    }
}

fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A name beside a folder, on the same disk, that nobody else takes.
fn beside(folder: &Path, clock: &dyn Clock) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".partial-{}-{}", std::process::id(), clock.now_ms()));
    parent(folder).join(name)
}

fn sync_folder(folder: &Path) -> Result<(), HubError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| unwritten(folder, &e))
}

fn unwritten(path: &Path, error: &io::Error) -> HubError {
    let reason =
        if error.kind() == io::ErrorKind::StorageFull { Reason::StoreFull } else { Reason::StoreUnavailable };
    HubError::new(reason, format!("cannot write {}: {error}", path.display()))
}
