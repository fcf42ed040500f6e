//! A spoke's data folder: who it is, its key, its replica, and the lock that gives all of it to one process.
//!
//! | file | what |
//! |---|---|
//! | `spoke.json` | [`SpokeConfig`]; there once the node has joined |
//! | `node.key` | the node's private key |
//! | `replica.sqlite` | the replica, with `-wal` and `-shm` beside it while it is open |
//! | `lock` | held by the process that owns the folder; its process id stands in it |
//! | `daemon.sock` | where the daemon answers, while one runs |
//!
//! All of them can be read by their owner alone.

mod place;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use semantics::ids::{Digest, Domain, NodeId, TenantId};
use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};

/// Largest configuration read, bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Longest process id read from a lock, bytes.
const PID_BYTES_MAX: u64 = 32;

/// What a node knows of itself and of its hub, from the join on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpokeConfig {
    /// The node.
    pub node: NodeId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name, for people.
    pub name: String,
    /// What it is: desktop, cloud, mobile, edge, agent.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Where its new records go.
    pub domain: Domain,
    /// Addresses of the hub, in the order in which they are tried.
    pub hubs: Vec<String>,
    /// Digest of the key of the hub's certificate authority; `None` = a hub without TLS, on loopback alone.
    pub ca_pin: Option<Digest>,
}

/// Where things lie in a data folder. Owns nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    dir: PathBuf,
}

impl Paths {
    /// Of this folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// `spoke.json`
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("spoke.json")
    }
    /// `node.key`
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.join("node.key")
    }
    /// `replica.sqlite`
    #[must_use]
    pub fn replica(&self) -> PathBuf {
        self.dir.join("replica.sqlite")
    }
    /// `lock`
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }
    /// `daemon.sock`
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("daemon.sock")
    }
    /// The configuration, without taking the folder.
    ///
    /// # Errors
    /// `NOT_JOINED` when there is none; `STORE_CORRUPT` when it cannot be understood; `STORE_UNAVAILABLE`.
    pub fn load_config(&self) -> Result<SpokeConfig, Refusal> {
        let path = self.config();
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Refusal::new(Reason::NotJoined, format!("there is no {}", path.display())));
            }
            opened => opened.map_err(|e| failed(&path, &e))?,
        };
        let mut text = Vec::new();
        file.take(CONFIG_BYTES_MAX).read_to_end(&mut text).map_err(|e| failed(&path, &e))?;
        serde_json::from_slice(&text)
            .map_err(|e| Refusal::new(Reason::StoreCorrupt, format!("{}: {e}", path.display())))
    }
}

/// A data folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    paths: Paths,
    /// The operating system lets go of the lock with the file, whatever ends the process.
    _lock: File,
}

impl Folder {
    /// Takes the folder of a node that has joined.
    ///
    /// # Errors
    /// `NOT_JOINED`; `REPLICA_LOCKED` when another process owns it; `STORE_UNAVAILABLE`.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Refusal> {
        let paths = Paths::new(dir);
        paths.load_config()?;
        Self::take(paths)
    }

    /// Makes a folder for a node that is about to join, and takes it. An unfinished one is taken over.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` when a node has joined there; `REPLICA_LOCKED`; `STORE_UNAVAILABLE`.
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self, Refusal> {
        let paths = Paths::new(dir);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(paths.dir()).map_err(|e| failed(paths.dir(), &e))?;
        let folder = Self::take(paths)?;
        if folder.paths.config().exists() {
            let detail = format!(
                "a node has joined in {} already; another one takes another folder (--data)",
                folder.paths.dir().display()
            );
            return Err(Refusal::new(Reason::AlreadyExists, detail));
        }
        Ok(folder)
    }

    fn take(paths: Paths) -> Result<Self, Refusal> {
        let path = paths.lock();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = private(options).open(&path).map_err(|e| failed(&path, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let detail = format!("process {} owns {}", holder(&mut lock), paths.dir().display());
                return Err(Refusal::new(Reason::ReplicaLocked, detail));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
        }
        write_holder(&mut lock).map_err(|e| failed(&path, &e))?;
        Ok(Self { paths, _lock: lock })
    }

    /// Where things lie.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The configuration.
    ///
    /// # Errors
    /// As [`Paths::load_config`].
    pub fn config(&self) -> Result<SpokeConfig, Refusal> {
        self.paths.load_config()
    }

    /// Writes the configuration, whole or not at all.
    ///
    /// # Errors
    /// `STORE_FULL`, `STORE_UNAVAILABLE`.
    pub fn save_config(&self, config: &SpokeConfig) -> Result<(), Refusal> {
        let mut text = serde_json::to_vec_pretty(config)
            .map_err(|e| Refusal::new(Reason::Internal, format!("the configuration: {e}")))?;
        text.push(b'\n');
        write_private(&self.paths.config(), &text)
    }

    /// Names the replica's file on this machine, for [`crate::replica::Identity::place`]: a copy of the folder has
    /// another name. The replica's file must be there.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` when it is not.
    pub fn place(&self) -> Result<String, Refusal> {
        place::place(&self.paths.replica())
    }
}

/// Writes a file that its owner alone can read: whole or not at all, and durable when it returns.
///
/// # Errors
/// `STORE_FULL`, `STORE_UNAVAILABLE`.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || -> io::Result<()> {
        // One that a crash left may have other rights.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = private(options).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(dir) if cfg!(unix) => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(|e| failed(path, &e))
}

fn private(mut options: OpenOptions) -> OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = Read::by_ref(lock).take(PID_BYTES_MAX).read_to_string(&mut text);
    let pid = text.trim();
    if read.is_err() || pid.is_empty() { "(not known)".to_owned() } else { pid.to_owned() }
}

fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    writeln!(lock, "{}", std::process::id())
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::StoreFull,
        _ => Reason::StoreUnavailable,
    };
    Refusal::new(reason, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
