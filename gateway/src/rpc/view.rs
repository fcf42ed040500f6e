//! Rows of the store as operators see them.

use proto::v1;
use semantics::ids::{NodeId, TenantId};
use semantics::view::View;

use crate::hub::error::HubError;
use crate::hub::known::{NodeBody, NodeStatus, control_body, view_key};
use crate::hub::{Hub, Principal};
use crate::store::{Current, LogRow, RowOutcome};

/// Most writers shown of one node.
const WRITERS_SHOWN_MAX: usize = 64;

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
    }
}

/// A node and how its writers stand.
///
/// # Errors
/// Store errors.
pub async fn node(
    hub: &Hub,
    tenant: &TenantId,
    id: NodeId,
    body: NodeBody,
) -> Result<v1::NodeView, HubError> {
    let view: Option<View> = match view_key(id) {
        Some(key) => control_body(hub.control(tenant, &key).await?.as_ref()),
        None => None,
    };
    let who = Principal { tenant: tenant.clone(), node: id };
    let mut writers = Vec::new();
    for row in hub.store().writers(tenant, Some(id), None, WRITERS_SHOWN_MAX).await? {
        let seen = hub.seen(&who, row.writer).await?;
        writers.push(v1::WriterView {
            epoch: row.writer.epoch,
            open: !row.closed,
            last_n: row.last_n,
            acknowledged: seen.as_ref().and_then(|seen| seen.cursor).map(Into::into),
            seen_ms: seen.map_or(0, |seen| seen.seen_ms),
        });
    }
    let status = match body.status {
        NodeStatus::Active => "active",
        NodeStatus::Revoked => "revoked",
    };
    Ok(v1::NodeView {
        node: id.as_bytes().to_vec(),
        name: body.name,
        node_type: body.node_type,
        domain: body.domain.to_string(),
        capabilities: body.capabilities.into_iter().collect(),
        status: status.to_owned(),
        view: view.map(Into::into),
        writers,
    })
}
