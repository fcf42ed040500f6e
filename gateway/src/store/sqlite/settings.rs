//! What SQLite says of itself.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::Sqlite;

use super::{DATABASE_FILE, READERS_MAX, error};
use crate::store::StoreError;
use crate::store::relational::lender::Lender;

/// Names of what is asked, and the questions; each answers with one text. Readers have the settings of the writer:
/// both are opened with the same options.
const ASKED: [(&str, &str); 5] = [
    ("version", "select sqlite_version()"),
    ("journal_mode", "select cast(journal_mode as text) from pragma_journal_mode"),
    ("synchronous", "select cast(synchronous as text) from pragma_synchronous"),
    ("page_bytes", "select cast(page_size as text) from pragma_page_size"),
    ("free_pages", "select cast(freelist_count as text) from pragma_freelist_count"),
];

pub(super) async fn told(
    readers: &Lender<Sqlite>,
    folder: &Path,
) -> Result<BTreeMap<&'static str, String>, StoreError> {
    let mut told = BTreeMap::from([("engine", "sqlite".to_owned())]);
    for (name, sql) in ASKED {
        let value: String =
            sqlx::query_scalar(sql).fetch_one(readers.pool()).await.map_err(|e| error::of(&e))?;
        told.insert(name, value);
    }
    for (name, file) in
        [("file_bytes", DATABASE_FILE.to_owned()), ("wal_bytes", format!("{DATABASE_FILE}-wal"))]
    {
        // A file that is not there has nothing in it.
        let bytes = std::fs::metadata(folder.join(file)).map_or(0, |file| file.len());
        told.insert(name, bytes.to_string());
    }
    told.insert("readers_in_use", readers.in_use().to_string());
    told.insert("readers_max", READERS_MAX.to_string());
    Ok(told)
}
