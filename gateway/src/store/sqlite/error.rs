//! What SQLite's result codes mean here.

use sqlx::Error;

use crate::store::StoreError;

/// Of anything but a commit: the transaction is rolled back, so nothing was written.
pub(in crate::store) fn of(error: &Error) -> StoreError {
    let detail = error.to_string();
    match error {
        Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
            // The low byte is the primary code, the rest says more exactly which.
            match code & 0xff {
                // BUSY, LOCKED
                5 | 6 => StoreError::Contended,
                // READONLY, IOERR, CANTOPEN, PROTOCOL
                8 | 10 | 14 | 15 => StoreError::Unavailable(detail),
                // CORRUPT, NOTADB
                11 | 26 => StoreError::Corrupt(detail),
                13 => StoreError::Full(detail),
                _ => StoreError::Internal(detail),
            }
        }
        Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed | Error::Io(_) => {
            StoreError::Unavailable(detail)
        }
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::TypeNotFound { .. } => {
            StoreError::Corrupt(detail)
        }
        _ => StoreError::Internal(detail),
    }
}

/// Of a commit: where the disk failed half-way, only reading again tells.
pub(super) fn of_commit(error: &Error) -> StoreError {
    match of(error) {
        StoreError::Unavailable(detail) | StoreError::Internal(detail) => StoreError::Unknown(detail),
        other => other,
    }
}
