//! Conflicts as operators and nodes list, look at and settle them: shape, one use case, answer.

pub(super) mod told;

use proto::v1;
use semantics::canonical;
use semantics::conflict::{Conflict, TYPE_NAMES};
use semantics::envelope::BODY_BYTES_MAX;
use semantics::ids::{Dot, RecordId, Revision, TenantId};
use semantics::kind;
use semantics::reason::{Reason, Refusal};
use semantics::resolution::{Choice, policy_named};

use super::admin::{malformed, tenant_id};
use super::lists::controls;
use super::paging::{size, text_position, token};
use crate::auth::Operator;
use crate::hub::error::HubError;
use crate::hub::known::control_body;
use crate::hub::work::{Settled, Settler};
use crate::hub::{Hub, Principal};

pub(super) use told::{last_settlement, settlements};

/// A page of a tenant's conflicts. What filters take away leaves the page shorter.
pub(super) async fn list(
    hub: &Hub,
    request: &v1::ListConflictsRequest,
) -> Result<v1::ListConflictsResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let scope = ["conflicts", tenant.as_str(), &request.kind, &request.record, &request.r#type];
    let (size, after) = (size(request.page_size)?, text_position(&scope, &request.page_token)?);
    let wanted = filter(request)?;
    let (rows, next) = controls(hub, &tenant, kind::CONFLICT, after, size).await?;
    let next_page_token = next.map(|id| token(&scope, id.as_str().as_bytes())).unwrap_or_default();
    let shown = rows.iter().filter_map(|row| {
        let conflict: Conflict = control_body(Some(row))?;
        let (id, revision) = (&row.pointer.key.id, row.pointer.revision);
        wanted(&conflict).then(|| told::listed(id, revision, &conflict))
    });
    Ok(v1::ListConflictsResponse { conflicts: shown.collect(), next_page_token })
}

/// Which conflicts a request asks for.
fn filter(request: &v1::ListConflictsRequest) -> Result<impl Fn(&Conflict) -> bool, HubError> {
    use v1::list_conflicts_request::State;
    let state = State::try_from(request.state).map_err(|e| malformed("state", &e))?;
    let (kind, record, of_type) = (&request.kind, &request.record, &request.r#type);
    if !of_type.is_empty() && !TYPE_NAMES.contains(&of_type.as_str()) {
        return Err(malformed("type", &format!("one of {}", TYPE_NAMES.join(", "))));
    }
    let is = |asked: &str, found: &str| asked.is_empty() || asked == found;
    Ok(move |conflict: &Conflict| {
        let is_state = match state {
            State::Unspecified => conflict.open,
            State::Resolved => !conflict.open,
            State::All => true,
        };
        let subject = &conflict.subject;
        is_state
            && is(kind, subject.kind.as_str())
            && is(record, subject.id.as_str())
            && is(of_type, conflict.type_name())
    })
}

fn conflict_id(text: &str) -> Result<RecordId, HubError> {
    RecordId::new(text).map_err(|e| malformed("conflict", &e))
}

pub(super) async fn get(
    hub: &Hub,
    request: &v1::GetConflictRequest,
) -> Result<v1::GetConflictResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let disputed = hub.disputed(&tenant, &conflict_id(&request.conflict)?, None).await?;
    Ok(v1::GetConflictResponse { conflict: Some(told::shown(hub, &tenant, &disputed).await?) })
}

pub(super) async fn get_of_node(
    hub: &Hub,
    who: &Principal,
    request: &v1::GetRecordConflictRequest,
) -> Result<v1::GetRecordConflictResponse, HubError> {
    hub.active_node(who).await?;
    let disputed = hub.disputed(&who.tenant, &conflict_id(&request.conflict)?, Some(who)).await?;
    Ok(v1::GetRecordConflictResponse { conflict: Some(told::shown(hub, &who.tenant, &disputed).await?) })
}

/// What is asked to be done with a conflict.
struct Asked {
    tenant: TenantId,
    conflict: RecordId,
    expected: Revision,
    by: Settler,
}

impl Asked {
    async fn resolve(self, hub: &Hub, choice: Option<v1::ConflictChoice>) -> Result<Settled, HubError> {
        let choice = choice_of(choice)?;
        hub.resolve(&self.tenant, (&self.conflict, self.expected), &choice, self.by).await
    }

    async fn undo(self, hub: &Hub) -> Result<Settled, HubError> {
        hub.undo_resolution(&self.tenant, (&self.conflict, self.expected), self.by).await
    }
}

fn choice_of(choice: Option<v1::ConflictChoice>) -> Result<Choice, HubError> {
    use v1::conflict_choice::Choice as Wire;
    let chosen = choice.and_then(|choice| choice.choice).ok_or_else(|| malformed("choice", &"absent"))?;
    Ok(match chosen {
        Wire::Keep(v1::KeepStanding {}) => Choice::Keep,
        Wire::Ancestor(v1::TakeAncestor {}) => Choice::Ancestor,
        Wire::Nothing(v1::NoValue {}) => Choice::Value(None),
        Wire::Side(dot) => Choice::Side(Dot::try_from(dot).map_err(Refusal::from)?),
        Wire::Policy(name) => Choice::Policy(policy_named(&name)?),
        Wire::Value(json) if json.len() > BODY_BYTES_MAX => {
            let detail = format!("value: {} bytes, at most {BODY_BYTES_MAX} are allowed", json.len());
            return Err(HubError::new(Reason::TooLarge, detail));
        }
        Wire::Value(json) => Choice::Value(Some(canonical::from_json(&json)?)),
    })
}

fn by_operator(by: &Operator, reason: String, binds: bool) -> Settler {
    let name = format!("{}/{}", by.tenant, by.name);
    Settler { author: by.author(), name, is_node: false, reason, binds }
}

pub(super) async fn resolve(
    hub: &Hub,
    by: &Operator,
    request: v1::ResolveConflictRequest,
) -> Result<v1::ResolveConflictResponse, HubError> {
    let asked = Asked {
        tenant: tenant_id(&request.tenant)?,
        conflict: conflict_id(&request.conflict)?,
        expected: Revision(request.expected),
        by: by_operator(by, request.reason, request.precedent),
    };
    let Settled { conflict, subject } = asked.resolve(hub, request.choice).await?;
    Ok(v1::ResolveConflictResponse { revision: conflict.0, record_revision: subject.0 })
}

pub(super) async fn undo(
    hub: &Hub,
    by: &Operator,
    request: v1::UndoResolutionRequest,
) -> Result<v1::UndoResolutionResponse, HubError> {
    let asked = Asked {
        tenant: tenant_id(&request.tenant)?,
        conflict: conflict_id(&request.conflict)?,
        expected: Revision(request.expected),
        by: by_operator(by, request.reason, false),
    };
    let Settled { conflict, subject } = asked.undo(hub).await?;
    Ok(v1::UndoResolutionResponse { revision: conflict.0, record_revision: subject.0 })
}

async fn by_node(hub: &Hub, who: &Principal, reason: String) -> Result<Settler, HubError> {
    let name = hub.active_node(who).await?.name;
    Ok(Settler { author: who.node, name, is_node: true, reason, binds: false })
}

pub(super) async fn resolve_of_node(
    hub: &Hub,
    who: &Principal,
    request: v1::ResolveRecordConflictRequest,
) -> Result<v1::ResolveRecordConflictResponse, HubError> {
    let asked = Asked {
        tenant: who.tenant.clone(),
        by: by_node(hub, who, request.reason).await?,
        conflict: conflict_id(&request.conflict)?,
        expected: Revision(request.expected),
    };
    let Settled { conflict, subject } = asked.resolve(hub, request.choice).await?;
    Ok(v1::ResolveRecordConflictResponse { revision: conflict.0, record_revision: subject.0 })
}

pub(super) async fn undo_of_node(
    hub: &Hub,
    who: &Principal,
    request: v1::UndoRecordResolutionRequest,
) -> Result<v1::UndoRecordResolutionResponse, HubError> {
    let asked = Asked {
        tenant: who.tenant.clone(),
        by: by_node(hub, who, request.reason).await?,
        conflict: conflict_id(&request.conflict)?,
        expected: Revision(request.expected),
    };
    let Settled { conflict, subject } = asked.undo(hub).await?;
    Ok(v1::UndoRecordResolutionResponse { revision: conflict.0, record_revision: subject.0 })
}
