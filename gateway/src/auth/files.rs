//! Secret files: made once, whole, readable by their owner alone, never overwritten. They belong to whom their folder
//! belongs to, whoever makes them: what root makes beside a hub that runs as another user, that hub can read.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use semantics::reason::Reason;

use crate::hub::error::HubError;
use crate::place::{give, make_new_private, open_private};

/// Name of the file in the keys folder whose lock is held while secrets are made.
const LOCK_FILE: &str = "lock";

/// Makes a folder that only its owner may enter.
pub(super) fn private_folder(path: &Path) -> Result<(), HubError> {
    if !path.exists() {
        std::fs::create_dir_all(path)
            .and_then(|()| give(&File::open(path)?, path))
            .map_err(|e| failed(path, &e))?;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let only_owner = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, only_owner).map_err(|e| failed(path, &e))?;
    }
    Ok(())
}

/// Waits for the folder's lock; dropping the file gives it back.
pub(super) fn lock(folder: &Path) -> Result<File, HubError> {
    let path = folder.join(LOCK_FILE);
    let file = open_private(&path).map_err(|e| failed(&path, &e))?;
    file.lock().map_err(|e| failed(&path, &e))?;
    Ok(file)
}

/// What the file holds, or what `make` gives, which is then what it holds. The caller holds the folder's lock.
pub(super) fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<String, HubError>,
) -> Result<String, HubError> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    let text = make()?;
    write_whole(path, &text)?;
    Ok(text)
}

/// Renames the file, where there is one: it keeps what it held under a name ending in `.old`, also through a power cut
/// before anything else takes its place.
pub(super) fn set_aside(path: &Path) -> Result<(), HubError> {
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    match std::fs::rename(path, PathBuf::from(old)).and_then(|()| sync_folder_of(path)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes the file, where there is one.
pub(super) fn remove(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(path, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What the file holds, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<String>, HubError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, &e)),
    }
}

/// Writes beside the file, syncs, and renames: a crash leaves the whole file or none.
fn write_whole(path: &Path, text: &str) -> Result<(), HubError> {
    write_beside(path, text)?.publish()
}

/// A file that is written and does not have its name yet.
pub(super) struct Beside {
    from: PathBuf,
    to: PathBuf,
}

/// Writes what the file is to hold, durably, beside it: whatever could refuse that has not refused.
pub(super) fn write_beside(path: &Path, text: &str) -> Result<Beside, HubError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let from = PathBuf::from(beside);
    let written = (|| {
        // What a crash left, or a link that somebody made to a file of another's.
        match std::fs::remove_file(&from) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let mut file = make_new_private(&from)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    written.map_err(|e| failed(&from, &e))?;
    Ok(Beside { from, to: path.to_owned() })
}

impl Beside {
    /// Gives the file its name.
    pub(super) fn publish(self) -> Result<(), HubError> {
        let named = std::fs::rename(&self.from, &self.to).and_then(|()| sync_folder_of(&self.to));
        named.map_err(|e| failed(&self.to, &e))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> HubError {
    let detail = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull => HubError::transient(Reason::StoreFull, detail, 5_000),
        ErrorKind::PermissionDenied => {
            let remedy = "the files in this folder belong to the user that the hub runs as: run this as that user or \
                          as root, and give it (chown) what another owns";
            HubError::new(Reason::PermissionDenied, format!("{detail}: {remedy}"))
        }
        _ => HubError::new(Reason::StoreUnsafe, detail),
    }
}
