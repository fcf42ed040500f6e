//! RecoverLog: shape, one use case, answer.

use proto::v1;
use proto::v1::recover_log_request::Action;
use semantics::access::Event;
use semantics::recovery::Phase;

use super::Gate;
use super::admin::{malformed, tenant_id};
use crate::access::Who;
use crate::auth::Operator;
use crate::hub::error::HubError;
use crate::hub::recovery::{OnlyState, Recovered};

pub(super) async fn recover(
    gate: &Gate,
    by: Operator,
    request: &v1::RecoverLogRequest,
) -> Result<v1::RecoverLogResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let action = Action::try_from(request.action).map_err(|error| malformed("action", &error))?;
    let asked = match action {
        Action::Unspecified => None,
        Action::Begin => Some((Phase::Recovering, Event::RecoveryBegun)),
        Action::Finish => Some((Phase::Finished, Event::RecoveryFinished)),
    };
    if let Some((phase, event)) = asked
        && gate.hub.set_recovery(&tenant, phase).await?
    {
        gate.access.note(&tenant, &Who::Operator(by), event);
    }
    Ok(told(gate.hub.recovered(&tenant).await?))
}

fn told(recovered: Recovered) -> v1::RecoverLogResponse {
    let restored = recovered.restored;
    let nodes = recovered
        .nodes
        .into_iter()
        .map(|(node, has_told_all)| v1::RecoveredNode { node: node.as_bytes().to_vec(), has_told_all });
    v1::RecoverLogResponse {
        phase: restored.phase.as_str().to_owned(),
        predecessor: restored.predecessor.as_bytes().to_vec(),
        revision: restored.revision.0,
        restored_ms: restored.time_ms,
        nodes: nodes.collect(),
        told: u64::try_from(recovered.told).unwrap_or(u64::MAX),
        only_state: recovered.only_state.into_iter().map(only_state).collect(),
        has_more: recovered.has_more,
    }
}

fn only_state(found: OnlyState) -> v1::OnlyState {
    v1::OnlyState {
        key: Some((&found.remnant.key).into()),
        revision: found.remnant.revision.0,
        deleted: found.remnant.deleted,
        nodes: found.nodes.into_iter().map(|node| node.as_bytes().to_vec()).collect(),
    }
}
