//! The name of one file on one machine.

use std::fs;
use std::path::Path;

use semantics::reason::Refusal;
use sha2::{Digest as _, Sha256};

use super::failed;

/// Where a machine's own name stands; it outlives restarts. Without one the file alone must do.
const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Device and inode of the file and the name of the machine, hashed: a machine's name is not for everybody. A
/// false alarm (a disk that got another number) costs an epoch, nothing else.
pub(super) fn place(file: &Path) -> Result<String, Refusal> {
    let file_name = file_name(file)?;
    let mut hasher = Sha256::new().chain_update("hubward/place/1\0");
    hasher.update(machine());
    hasher.update([0]);
    hasher.update(file_name);
    Ok(hex::encode(hasher.finalize()))
}

fn machine() -> String {
    let mut texts = MACHINE_ID_FILES.into_iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.find(|text| !text.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

#[cfg(unix)]
fn file_name(file: &Path) -> Result<String, Refusal> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(file).map_err(|e| failed(file, &e))?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_name(file: &Path) -> Result<String, Refusal> {
    let path = fs::canonicalize(file).map_err(|e| failed(file, &e))?;
    Ok(path.display().to_string())
}
