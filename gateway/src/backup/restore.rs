//! A store begins again from a backup.

use std::fs;
use std::path::{Path, PathBuf};

use semantics::access::{Entry, Event};
use semantics::ids::{Digest, LogId};
use semantics::reason::Reason;
use serde::Serialize;

use super::{
    Clock, Config, DATABASE_FILE, Entropy, File, Heads, HubError, Manifest, Origin, StoreError, TABLES_FILE,
    TenantHead, archive, auth, check, origin, place, sync_folder, tenants, unwritten,
};
use crate::access::{Who, append_beside};
use crate::store::archive::{Beside, Reserved};
use crate::store::{PlainRow, sqlite};

/// Name of the tables in the data folder while they are made ready.
const PARTIAL_FILE: &str = "hub.sqlite.restoring";

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Where each log went on, with its new log id.
    pub tenants: Vec<TenantHead>,
    /// The same tenants in the backup, with the log ids before.
    pub from: Vec<TenantHead>,
    /// When the backup was made, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// Whether the keys of the backup's hub are in the data folder; the hub does not start without them.
    pub has_keys: bool,
    /// Where the store that was replaced is kept, if one was and it was a file.
    pub replaced: Option<PathBuf>,
}

/// Puts a backup into the store that the settings name.
///
/// # Errors
/// As [`check`] for the backup; ALREADY_EXISTS when the store holds something and is not to be replaced, or when the
/// data folder holds the keys of another hub; STORE_UNAVAILABLE when a hub runs on the data folder, or any gateway on
/// the database (`a_restore_is_refused_while_a_gateway_serves_from_the_database`); store errors.
/// Then nothing has changed.
pub async fn restore(
    config: &Config,
    folder: &Path,
    replace: bool,
    (clock, entropy): (&dyn Clock, &dyn Entropy),
) -> Result<Answer, HubError> {
    let at = origin(config)?;
    let manifest = check(folder)?;
    let has_keys = has_keys(&config.data, manifest.hub)?;
    place::make_folder(&config.data)?;
    let held = sqlite::lock(&config.data)?;
    let to = match at {
        Origin::Postgres(url) => Some((url, archive::reserve(url).await?)),
        Origin::Folder(_) => None,
    };
    if !replace && !archive::is_empty(at).await? {
        return Err(not_empty());
    }
    let partial = config.data.join(PARTIAL_FILE);
    let restored = put(to, &config.data, (folder, &manifest), (clock, entropy), replace).await;
    drop(fs::remove_file(&partial));
    drop(held);
    let (tenants, replaced) = restored?;
    Ok(Answer { tenants, from: manifest.tenants, time_ms: manifest.time_ms, has_keys, replaced })
}

async fn put(
    to: Option<(&str, Reserved)>,
    data: &Path,
    (folder, manifest): (&Path, &Manifest),
    (clock, entropy): (&dyn Clock, &dyn Entropy),
    replace: bool,
) -> Result<(Vec<TenantHead>, Option<PathBuf>), HubError> {
    let partial = data.join(PARTIAL_FILE);
    drop(fs::remove_file(&partial));
    place::make_private(&partial)?;
    fs::copy(folder.join(TABLES_FILE), &partial).map_err(|e| unwritten(&partial, &e))?;
    if tenants(&archive::open(&partial).await?) != manifest.tenants {
        let detail = "the backup is damaged: its tables end elsewhere than its manifest says";
        return Err(HubError::new(Reason::StoreCorrupt, detail));
    }
    // What the backup says of keys is older than what was rotated or retired since.
    let (now_ms, signing) = (clock.now_ms(), auth::token_kid(data)?);
    let fact = |row: &PlainRow| auth::restored_fact(row, signing.as_deref(), now_ms);
    let heads = archive::renew(&partial, now_ms, || LogId(entropy.bytes16()), &fact).await?;
    note(&partial, manifest, &heads, now_ms).await?;
    let replaced = match to {
        Some((url, reserved)) => {
            let put = archive::put(&partial, url, reserved, replace).await;
            put.map_err(|error| match error {
                StoreError::Unsafe(_) => not_empty(),
                error => error.into(),
            })?;
            None
        }
        None => {
            if replace {
                archive::settle(data).await;
            }
            into_folder(data, &partial, clock)?
        }
    };
    Ok((tenants(&heads), replaced))
}

/// Says in each tenant's access log what became of its log.
async fn note(file: &Path, manifest: &Manifest, heads: &Heads, now_ms: u64) -> Result<(), HubError> {
    let mut store = Beside::open_file(file).await?;
    store.begin().await?;
    for ((tenant, head), before) in heads.iter().zip(&manifest.tenants) {
        let event = Event::LogRestored {
            log_id: head.log_id.to_string(),
            predecessor: before.log_id.to_string(),
            revision: before.revision.0,
            backup_ms: manifest.time_ms,
        };
        let entry = Entry::new(now_ms, &Who::Hub.to_string(), event);
        if !append_beside(&mut store, tenant, &entry).await? {
            return Err(StoreError::Contended.into());
        }
    }
    store.commit().await?;
    store.close().await;
    Ok(())
}

/// Puts the file in its place in one step; what was there is kept under another name.
fn into_folder(data: &Path, partial: &Path, clock: &dyn Clock) -> Result<Option<PathBuf>, HubError> {
    let to = data.join(DATABASE_FILE);
    File::open(partial).and_then(|file| file.sync_all()).map_err(|e| unwritten(partial, &e))?;
    let mut replaced = None;
    if to.exists() {
        let aside = data.join(format!("{DATABASE_FILE}.replaced-{}", clock.now_ms()));
        // Only a damaged file still has one here; it belongs to that and to no other.
        for suffix in ["-wal", "-shm"] {
            let (from, aside) = (with(&to, suffix), with(&aside, suffix));
            if from.exists() {
                fs::rename(&from, &aside).map_err(|e| unwritten(&aside, &e))?;
            }
        }
        fs::hard_link(&to, &aside).map_err(|e| unwritten(&aside, &e))?;
        replaced = Some(aside);
    }
    fs::rename(partial, &to).map_err(|e| unwritten(&to, &e))?;
    sync_folder(data)?;
    Ok(replaced)
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether the keys in the data folder are those of the backup's hub.
fn has_keys(data: &Path, hub: Option<Digest>) -> Result<bool, HubError> {
    match (auth::ca_key_digest(data)?, hub) {
        (Some(found), Some(hub)) if found != hub => {
            let detail =
                format!("the backup is of the hub {hub}, and {} holds the keys of {found}", data.display());
            Err(HubError::new(Reason::AlreadyExists, detail))
        }
        (found, _) => Ok(found.is_some()),
    }
}

fn not_empty() -> HubError {
    let detail = "the store is not empty: give an empty one, or --replace to give up what it holds";
    HubError::new(Reason::AlreadyExists, detail)
}
