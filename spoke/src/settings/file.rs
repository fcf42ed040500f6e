//! Reading the settings file, and secrets that stand in files of their own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use semantics::reason::{Reason, Refusal};
use semantics::spelling;
use toml::{Spanned, Table, Value};

use super::{Hubs, Joining, KEYS, Syncing, malformed};

/// Largest settings file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest secret in a file, bytes.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// The settings file; its keys are known and each holds a value of its sort. A value of another sort is not repeated: it
/// may be a secret that stands under a wrong key.
pub(super) fn read(path: &Path) -> Result<Table, Refusal> {
    let name = path.display();
    let text = bounded(path, FILE_BYTES_MAX)?;
    let line = |at: usize| text.get(..at).map_or(1, |before| before.split('\n').count());
    let named: BTreeMap<String, Spanned<Value>> = toml::from_str(&text).map_err(|e| {
        let at = e.span().map_or(String::new(), |span| format!(", line {}", line(span.start)));
        malformed(format!("{name}{at}: {}", e.message()))
    })?;
    for (key, value) in &named {
        let at = format!("{name}, line {}", line(value.span().start));
        if !KEYS.contains(&key.as_str()) {
            let near = spelling::nearest(key, KEYS);
            return Err(malformed(format!("{at}: unknown key {key}; did you mean {near}?")));
        }
        if !fits(key, value.get_ref()) {
            let sort = value.get_ref().type_str();
            let detail = format!("{at}: {key}: the value is of type {sort}, and must be {}", needed(key));
            return Err(malformed(detail));
        }
    }
    Ok(named.into_iter().map(|(key, value)| (key, value.into_inner())).collect())
}

/// Whether a value is of its key's sort; each is looked at alone, so that the refusal can name it.
fn fits(key: &str, value: &Value) -> bool {
    let alone: Table = [(key.to_owned(), value.clone())].into_iter().collect();
    let is_text = key != "data" || value.is_str();
    is_text
        && alone.clone().try_into::<Hubs>().is_ok()
        && alone.clone().try_into::<Joining>().is_ok()
        && alone.try_into::<Syncing>().is_ok()
}

/// The sort of value that a key has.
fn needed(key: &str) -> &'static str {
    match key {
        "batch_changes"
        | "batch_wait_s"
        | "every_s"
        | "identity_every_interactions"
        | "identity_every_s"
        | "identity_soon_interactions" => "a whole number, 0 or more",
        "capabilities" | "hubs" => "a list of texts in quotes",
        "compression" => "one of \"zstd\", \"gzip\", \"none\"",
        "type" => "one of \"desktop\", \"cloud\", \"mobile\", \"edge\", \"agent\"",
        _ => "a text in quotes",
    }
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
