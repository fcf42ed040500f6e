//! What PostgreSQL's error codes mean here (its manual, appendix A).

use sqlx::Error;

use crate::store::StoreError;

/// Of a statement that wrote nothing or was rolled back.
pub(in crate::store) fn of(error: &Error) -> StoreError {
    let detail = error.to_string();
    match error {
        Error::Database(database) => of_code(database.code().as_deref().unwrap_or_default(), detail),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => StoreError::Unavailable(detail),
        Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed | Error::BeginFailed => {
            StoreError::Unavailable(detail)
        }
        Error::ColumnDecode { .. } | Error::Decode(_) => StoreError::Corrupt(detail),
        _ => StoreError::Internal(detail),
    }
}

/// Of a commit, or of a statement that commits itself: with the connection goes the answer.
pub(super) fn of_commit(error: &Error) -> StoreError {
    match of(error) {
        StoreError::Unavailable(detail) => StoreError::Unknown(detail),
        other => other,
    }
}

fn of_code(code: &str, detail: String) -> StoreError {
    match code {
        // Serialization failure, deadlock, lock timeout, statement timeout, idle in a transaction for too long.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" => StoreError::Contended,
        "53100" => StoreError::Full(detail),
        // Data or index corrupted.
        "XX001" | "XX002" => StoreError::Corrupt(detail),
        // A read-only server (a standby), an input or output error.
        "25006" | "58030" => StoreError::Unavailable(detail),
        // Connection exceptions, resources, operator intervention: shutdown, crash, recovery.
        _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(detail)
        }
        // Who may not enter.
        _ if code.starts_with("28") || code.starts_with("3D") => StoreError::Unavailable(detail),
        _ => StoreError::Internal(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str) -> String {
        let text = format!("{:?}", of_code(code, String::new()));
        text.split('(').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_code_has_its_meaning() {
        for (found, meaning) in [
            ("40001", "Contended"),
            ("40P01", "Contended"),
            ("55P03", "Contended"),
            ("57014", "Contended"),
            ("25P03", "Contended"),
            ("53100", "Full"),
            ("53300", "Unavailable"),
            ("57P01", "Unavailable"),
            ("57P03", "Unavailable"),
            ("08006", "Unavailable"),
            ("28P01", "Unavailable"),
            ("XX001", "Corrupt"),
            ("42P01", "Internal"),
            ("23505", "Internal"),
        ] {
            assert_eq!(code(found), meaning, "{found}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_a_commit_unknown() {
        let lost = || Error::Io(std::io::Error::other("gone"));
        assert!(matches!(of(&lost()), StoreError::Unavailable(_)));
        assert!(matches!(of_commit(&lost()), StoreError::Unknown(_)));
    }
}
