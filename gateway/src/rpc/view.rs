//! Rows of the store as operators see them.

use proto::v1;

use crate::store::{Current, LogRow, RowOutcome};

/// A record.
#[must_use]
pub fn record(current: Current) -> v1::HubRecord {
    let Current { pointer, record } = current;
    v1::HubRecord {
        revision: pointer.revision.0,
        record: Some(record.into()),
        digest: pointer.digest.as_bytes().to_vec(),
        conflicts: pointer.open.into_iter().map(|open| open.id.to_string()).collect(),
    }
}

/// A row of a record's history.
#[must_use]
pub fn history(row: LogRow) -> v1::HistoryRow {
    let outcome = match row.outcome {
        RowOutcome::Applied => "applied",
        RowOutcome::Merged => "merged",
        RowOutcome::Conflicted => "conflicted",
        RowOutcome::Control => "control",
    };
    v1::HistoryRow {
        revision: row.revision.0,
        commit: row.commit.0,
        outcome: outcome.to_owned(),
        mutation: row.mutation.map(Into::into),
        record: Some(row.record.into()),
        rule_version: row.rule_version.0,
        ..v1::HistoryRow::default()
    }
}
