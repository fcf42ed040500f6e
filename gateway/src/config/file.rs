//! Reading the settings file, and secrets that stand in files of their own.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use semantics::reason::{Reason, Refusal};
use semantics::spelling;
use toml::{Spanned, Table, Value};

use super::{Given, KEYS, malformed};

/// Largest settings file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest secret in a file, bytes.
pub(super) const SECRET_BYTES_MAX: u64 = 16 * 1024;

impl Given {
    /// Reads a settings file (TOML). A key that is not known is refused by name, and so is a value of another sort than
    /// its key's, which is not repeated: it may be a secret that stands under a wrong key.
    ///
    /// # Errors
    /// MALFORMED, TOO_LARGE, or NOT_FOUND, naming the file, and the line where there is one.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let name = path.display();
        let text = String::from_utf8(read_bounded(path, FILE_BYTES_MAX)?)
            .map_err(|_| malformed(format!("{name} is no UTF-8")))?;
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
            let alone: Table = [(key.clone(), value.get_ref().clone())].into_iter().collect();
            if alone.try_into::<Self>().is_err() {
                let sort = value.get_ref().type_str();
                let detail = format!("{at}: {key}: the value is of type {sort}, and must be {}", needed(key));
                return Err(malformed(detail));
            }
        }
        let table: Table = named.into_iter().map(|(key, value)| (key, value.into_inner())).collect();
        table.try_into().map_err(|_| malformed(format!("{name}: its values do not fit their keys")))
    }
}

/// The sort of value that a key has.
fn needed(key: &str) -> &'static str {
    match key {
        "dev" | "metrics_tenant_labels" => "true or false",
        "drain_lead_s"
        | "node_mutations_per_s"
        | "resolver_per_minute"
        | "resolver_timeout_ms"
        | "tenant_mutations_per_s" => "a whole number, 0 or more",
        "hostnames" => "a list of texts in quotes",
        _ => "a text in quotes",
    }
}

/// A file that is no larger than a bound. What is no regular file tells no length, so reading is bounded and not its
/// length looked at.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Refusal> {
    let name = path.display();
    let unread = |e: std::io::Error| Refusal::new(Reason::NotFound, format!("cannot read {name}: {e}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > bytes_max) {
        return Err(Refusal::new(Reason::TooLarge, format!("{name} is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// A secret in a file; the line end after it does not count.
///
/// # Errors
/// NOT_FOUND, TOO_LARGE or MALFORMED, naming the setting.
pub fn secret(name: &str, path: &Path) -> Result<String, Refusal> {
    let at = path.display();
    let bytes = read_bounded(path, SECRET_BYTES_MAX)
        .map_err(|refusal| Refusal::new(refusal.reason, format!("{name}: {}", refusal.detail)))?;
    let text = String::from_utf8(bytes).map_err(|_| malformed(format!("{name}: {at} is no UTF-8")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(malformed(format!("{name}: {at} is empty"))),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Given, Refusal> {
        let path = std::env::temp_dir().join(format!("hubward-config-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = Given::read(&path);
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn a_value_of_another_sort_is_refused_by_key_and_line_and_not_repeated() {
        for key in KEYS {
            let value = if needed(key).starts_with("a text") { "[7777]" } else { "'hwj1_s3cret'" };
            let refusal = read(key, &format!("# settings\n\n{key} = {value}\n")).unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed);
            let told = format!(", line 3: {key}: the value is of type ");
            assert!(refusal.detail.contains(&told), "{refusal}");
            assert!(!refusal.detail.contains("7777") && !refusal.detail.contains("s3cret"), "{refusal}");
        }
        let refusal = read("range", "resolver_per_minute = -1").unwrap_err();
        assert!(refusal.detail.ends_with("must be a whole number, 0 or more"), "{refusal}");
    }

    #[test]
    fn what_is_no_toml_is_told_by_its_line() {
        let refusal = read("syntax", "dev = true\nlisten = 'a\n").unwrap_err();
        assert!(refusal.detail.contains(", line 2: "), "{refusal}");
    }
}
