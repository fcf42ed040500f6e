//! Reading the settings file, and secrets that stand in files of their own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use semantics::reason::{Reason, Refusal};
use semantics::spelling;
use toml::Table;

use super::{Hubs, Joining, KEYS, Syncing, malformed};

/// Largest settings file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest secret in a file, bytes.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// The settings file; its keys are known and each holds a value of its sort.
pub(super) fn read(path: &Path) -> Result<Table, Refusal> {
    let name = path.display();
    let text = bounded(path, FILE_BYTES_MAX)?;
    let table: Table = toml::from_str(&text).map_err(|e| malformed(format!("{name}: {}", e.message())))?;
    for (key, value) in &table {
        if !KEYS.contains(&key.as_str()) {
            return Err(malformed(format!(
                "{name}: unknown key {key}; did you mean {}?",
                spelling::nearest(key, KEYS)
            )));
        }
        fits(key, value).map_err(|problem| malformed(format!("{name}: {key}: {problem}")))?;
    }
    Ok(table)
}

/// Whether a value is of its key's sort; each is looked at alone, so that the refusal can name it.
fn fits(key: &str, value: &toml::Value) -> Result<(), String> {
    let mut alone = Table::new();
    alone.insert(key.to_owned(), value.clone());
    let told = |e: toml::de::Error| e.message().to_owned();
    alone.clone().try_into::<Hubs>().map_err(told)?;
    alone.clone().try_into::<Joining>().map_err(told)?;
    alone.try_into::<Syncing>().map_err(told)?;
    let is_text = key != "data" || value.is_str();
    if is_text { Ok(()) } else { Err("a folder is needed".to_owned()) }
}

/// A secret in a file; the line end after it does not count.
///
/// # Errors
/// `NOT_FOUND`, `TOO_LARGE` or `MALFORMED`, naming the setting.
pub fn secret(name: &str, path: &Path) -> Result<String, Refusal> {
    let named = |refusal: Refusal| Refusal::new(refusal.reason, format!("{name}: {}", refusal.detail));
    let text = bounded(path, SECRET_BYTES_MAX).map_err(named)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(malformed(format!("{name}: {} is empty", path.display()))),
        secret => Ok(secret.to_owned()),
    }
}

fn bounded(path: &Path, bytes_max: u64) -> Result<String, Refusal> {
    let at = path.display();
    let unread = |e: std::io::Error| Refusal::new(Reason::NotFound, format!("cannot read {at}: {e}"));
    let mut text = String::new();
    File::open(path).map_err(unread)?.take(bytes_max + 1).read_to_string(&mut text).map_err(unread)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Refusal::new(Reason::TooLarge, format!("{at} is larger than {bytes_max} bytes")));
    }
    Ok(text)
}
