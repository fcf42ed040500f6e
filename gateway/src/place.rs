//! What a hub leaves in its data folder for the commands that come after it: where it listens.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;

use semantics::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::hub::error::HubError;
use crate::serve::Listening;

/// Name of the file that says where the hub of a data folder listens.
pub const FILE: &str = "hub.json";

/// Where the hub of a data folder listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// For spokes, ADDRESS:PORT.
    pub listen: String,
    /// For operators, ADDRESS:PORT.
    pub operator_listen: String,
    /// Whether it speaks plaintext.
    pub dev: bool,
    /// The process.
    pub pid: u32,
}

#[derive(Debug, Serialize)]
struct Ready<'a> {
    #[serde(flatten)]
    place: &'a Place,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<String>,
}

/// Where Linux tells the name of the machine.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The name by which a gateway that listens there is told from others: the machine's name, or the address where it
/// has none, and the port that was asked for.
#[must_use]
pub fn name(listen: SocketAddr) -> String {
    let host = fs::read_to_string(HOST_NAME).unwrap_or_default();
    match host.trim() {
        "" => listen.to_string(),
        host => format!("{host}:{}", listen.port()),
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> HubError {
    HubError::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
}

/// Bits of a folder's mode that let others than its owner write to it.
const SHARED: u32 = 0o022;

/// Makes the data folder, readable by its owner only.
///
/// # Errors
/// STORE_UNAVAILABLE when it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), HubError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| unwritten(path, &e))
}

/// Makes an empty file that only the owner of its folder may read, where there is none. SQLite gives the files that it makes beside
/// a database the database's own mode and owner.
///
/// # Errors
/// STORE_UNAVAILABLE when it cannot be made.
pub fn make_private(path: &Path) -> Result<(), HubError> {
    open_private(path).map(drop).map_err(|e| unwritten(path, &e))
}

/// Opens a file for writing. Where there is none it is made: for the owner of its folder alone. What is there stays
/// whose it is: it may be a link that somebody else made, to a file of root's.
///
/// # Errors
/// What the system refuses.
pub(crate) fn open_private(path: &Path) -> std::io::Result<fs::File> {
    match make_new_private(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => fs::OpenOptions::new().write(true).open(path),
        made => made,
    }
}

/// Makes a file for the owner of its folder alone, and follows no link.
///
/// # Errors
/// What the system refuses; that there is something of the name already.
pub(crate) fn make_new_private(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    give(&file, path)?;
    Ok(file)
}

/// Gives a file to the owner of the folder it lies in, where that is another than who made it: what root makes beside a
/// hub that runs as another user, that hub can read. Who is neither root nor the owner may not; a folder that others
/// may write to by intention is no such folder, and who writes there keeps what it made.
///
/// # Errors
/// What the system refuses.
pub(crate) fn give(file: &fs::File, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let Some(folder) = path.parent() else { return Ok(()) };
    let folder = fs::metadata(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
    if file.metadata()?.uid() == folder.uid() {
        return Ok(());
    }
    match fchown(file, Some(folder.uid()), Some(folder.gid())) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied && folder.mode() & SHARED != 0 => Ok(()),
        done => done,
    }
}

/// Writes down where the hub listens, and says on stdout, as one JSON line, that it is ready.
///
/// # Errors
/// STORE_UNAVAILABLE when it cannot be written.
pub fn announce(config: &Config, at: Listening, dev_token: Option<&str>) -> Result<(), HubError> {
    let place = Place {
        listen: at.listen.to_string(),
        operator_listen: at.operator_listen.to_string(),
        dev: config.dev,
        pid: std::process::id(),
    };
    let path = config.data.join(FILE);
    let text = serde_json::to_vec(&place).map_err(|e| HubError::internal(e.to_string()))?;
    let partial = path.with_extension("json.partial");
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path)).map_err(|e| unwritten(&path, &e))?;
    let url = format!("{}://{}", if config.dev { "http" } else { "https" }, at.listen);
    let join = dev_token.map(|token| {
        format!("spoke --data ./spoke-data join --hub {url} --token {token} --name my-machine --type desktop")
    });
    let ready = Ready { place: &place, url, join };
    let line = serde_json::to_string(&ready).map_err(|e| HubError::internal(e.to_string()))?;
    let mut out = std::io::stdout().lock();
    // Nobody may be listening there; the hub serves all the same.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    Ok(())
}

/// Where the hub of a data folder listens, if one runs there.
///
/// # Errors
/// PERMISSION_DENIED where this user may not look.
pub fn find(data: &Path) -> Result<Option<Place>, Refusal> {
    let path = data.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(unread(&path, &error)),
        Err(_) => Ok(None),
    }
}

/// Why a file cannot be read; where this user may not, it says whose it is, or whose the folder is that hides it.
#[must_use]
pub(crate) fn unread(path: &Path, error: &std::io::Error) -> Refusal {
    use std::os::unix::fs::MetadataExt;
    let detail = format!("cannot read {}: {error}", path.display());
    if error.kind() != ErrorKind::PermissionDenied {
        return Refusal::new(Reason::NotFound, detail);
    }
    let seen = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?.uid())));
    let whose = seen.map_or(String::new(), |(path, owner)| {
        format!("; {} belongs to user {owner}: run the command as that user or as root", path.display())
    });
    Refusal::new(Reason::PermissionDenied, format!("{detail}{whose}"))
}

/// Takes away what [`announce`] wrote.
pub fn forget(data: &Path) {
    // A file left behind only makes the next command say that nobody listens there.
    drop(fs::remove_file(data.join(FILE)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_database_in_a_folder_that_others_may_enter_is_its_owners_alone() {
        let folder = std::env::temp_dir().join(format!("hubward-place-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let given = crate::config::Given { data: Some(folder.clone()), ..Default::default() };
        let _opened = crate::serve::open(&given.check().unwrap()).await.unwrap();
        for file in ["hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm", "operator.token"] {
            let mode = fs::metadata(folder.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file} has mode {mode:o}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_this_user_may_not_read_is_told_with_whose_it_is() {
        use std::os::unix::fs::MetadataExt;
        let folder = std::env::temp_dir().join(format!("hubward-whose-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (owner, hidden) = (fs::metadata(&folder).unwrap().uid(), folder.join("hidden").join(FILE));
        let refusal = unread(&hidden, &ErrorKind::PermissionDenied.into());
        assert_eq!(refusal.reason, Reason::PermissionDenied);
        let told = format!("{} belongs to user {owner}: run the command as that user", folder.display());
        assert!(refusal.detail.contains(&told), "{refusal}");
        assert_eq!(unread(&hidden, &ErrorKind::NotFound.into()).reason, Reason::NotFound);
        assert_eq!(find(&folder), Ok(None), "where there is no file no hub runs");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    #[allow(clippy::print_stderr, reason = "what is skipped is said aloud")]
    fn a_file_that_root_makes_belongs_to_the_owner_of_its_folder() {
        use std::os::unix::fs::{MetadataExt, chown};
        let folder = std::env::temp_dir().join(format!("hubward-given-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        if fs::metadata(&folder).unwrap().uid() == 0 {
            chown(&folder, Some(7_420), Some(7_420)).unwrap();
        } else {
            eprintln!("SKIPPED in part: only root can make files for another user");
        }
        let (owner, path) = (fs::metadata(&folder).unwrap(), folder.join("file"));
        make_private(&path).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (owner.uid(), 0o600));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_link_that_was_planted_is_neither_given_nor_truncated_nor_made_up_for() {
        use std::os::unix::fs::{MetadataExt, chown, symlink};
        let folder = std::env::temp_dir().join(format!("hubward-planted-{}", std::process::id()));
        let keys = folder.join("keys");
        fs::create_dir_all(&keys).unwrap();
        let victim = folder.join("victim");
        fs::write(&victim, "secret").unwrap();
        if fs::metadata(&keys).unwrap().uid() == 0 {
            chown(&keys, Some(7_420), Some(7_420)).unwrap();
        }
        let owner = fs::metadata(&victim).unwrap().uid();
        symlink(&victim, keys.join("lock")).unwrap();
        symlink(folder.join("nowhere"), keys.join("dangling")).unwrap();
        make_private(&keys.join("lock")).unwrap();
        assert!(make_private(&keys.join("dangling")).is_err() && !folder.join("nowhere").exists());
        assert!(make_new_private(&keys.join("lock")).is_err());
        let found = fs::metadata(&victim).unwrap();
        assert_eq!((found.uid(), fs::read_to_string(&victim).unwrap().as_str()), (owner, "secret"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
