//! What the driver reports, as the store's errors.

use crate::error::StoreError;

// https://www.sqlite.org/rescode.html: the low byte of an extended code.
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

/// An error of the driver. Nothing that was not committed had an effect.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(reported) => {
            let code = reported.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
            match code & 0xff {
                SQLITE_FULL => StoreError::Full,
                SQLITE_CORRUPT | SQLITE_NOTADB => damaged("file", reported.message()),
                _ => StoreError::Unavailable(error.to_string()),
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => damaged("file", error),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Something stored that is not what was written.
pub(super) fn damaged(what: &'static str, detail: impl ToString) -> StoreError {
    StoreError::Corrupt { what, detail: detail.to_string() }
}
