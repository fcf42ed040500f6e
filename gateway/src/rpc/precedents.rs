//! Precedents as operators list and revoke them, and policies tried on past conflicts: shape, one use case, answer.

use prost::Message;
use proto::v1;
use semantics::conflict::{Conflict, type_name};
use semantics::ids::{Kind, RecordId, TenantId};
use semantics::kind::{self, Policy};
use semantics::precedent::{Precedent, Shape, Sort};

use super::admin::{malformed, tenant_id};
use super::conflicts::told;
use super::lists::controls;
use super::paging::{size, text_position, token};
use crate::auth::Operator;
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::control_body;
use crate::hub::query::LIST_BYTES_MAX;

/// Most conflicts that one page of a preview looks at: each is read with the rows that it names.
const PREVIEW_PAGE_MAX: usize = 100;

pub(super) async fn list(
    hub: &Hub,
    request: &v1::ListPrecedentsRequest,
) -> Result<v1::ListPrecedentsResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let scope = ["precedents", tenant.as_str()];
    let (size, after) = (size(request.page_size)?, text_position(&scope, &request.page_token)?);
    let (rows, next) = controls(hub, &tenant, kind::PRECEDENT, after, size).await?;
    let next_page_token = next.map(|id| token(&scope, id.as_str().as_bytes())).unwrap_or_default();
    let shown = rows.iter().filter_map(|row| {
        let precedent: Precedent = control_body(Some(row))?;
        Some(shown(&row.pointer.key.id, &precedent))
    });
    Ok(v1::ListPrecedentsResponse { precedents: shown.collect(), next_page_token })
}

fn shown(id: &RecordId, precedent: &Precedent) -> v1::PrecedentView {
    let signature = &precedent.signature;
    v1::PrecedentView {
        id: id.to_string(),
        signature: Some(v1::ConflictSignature {
            kind: signature.kind.to_string(),
            path: signature.path.clone(),
            r#type: type_name(signature.conflict_type, signature.cause).to_owned(),
            policy: signature.policy.name().to_owned(),
            earlier: Some(shape(signature.earlier)),
            later: Some(shape(signature.later)),
            ancestor: signature
                .ancestor
                .map(|sort| v1::SideShape { deed: String::new(), sort: sort_name(sort).to_owned() }),
        }),
        choice: precedent.binding.name(),
        conflict: precedent.conflict.to_string(),
        account: Some(told::account(&precedent.account)),
        uses: precedent.uses,
    }
}

fn shape(shape: Shape) -> v1::SideShape {
    v1::SideShape { deed: shape.deed.name().to_owned(), sort: sort_name(shape.sort).to_owned() }
}

const fn sort_name(sort: Sort) -> &'static str {
    match sort {
        Sort::Nothing => "nothing",
        Sort::Null => "null",
        Sort::Boolean => "boolean",
        Sort::Number => "number",
        Sort::String => "string",
        Sort::Array => "array",
        Sort::Object => "object",
        Sort::Collapsed => "collapsed",
        Sort::Sealed => "sealed",
    }
}

pub(super) async fn revoke(
    hub: &Hub,
    by: &Operator,
    request: &v1::RevokePrecedentRequest,
) -> Result<v1::RevokePrecedentResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let id = RecordId::new(&*request.precedent).map_err(|e| malformed("precedent", &e))?;
    let revision = hub.revoke_precedent(&tenant, by.author(), &id).await?;
    Ok(v1::RevokePrecedentResponse { revision: revision.0 })
}

/// A page of conflicts, each as it came out and as the policy would have had it.
pub(super) async fn preview(
    hub: &Hub,
    request: &v1::PreviewPolicyRequest,
) -> Result<v1::PreviewPolicyResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let policy = Policy::from_name(&request.policy)?;
    let of_kind = Some(&request.kind).filter(|kind| !kind.is_empty());
    let of_kind = of_kind.map(|kind| Kind::new(&**kind).map_err(|e| malformed("kind", &e))).transpose()?;
    let scope = ["preview", tenant.as_str(), &request.kind, &request.policy];
    let size = size(request.page_size)?.min(PREVIEW_PAGE_MAX);
    let after = text_position(&scope, &request.page_token)?;
    let (rows, mut next) = controls(hub, &tenant, kind::CONFLICT, after, size).await?;
    let (mut conflicts, mut bytes) = (Vec::new(), 0_usize);
    for (at, row) in rows.iter().enumerate() {
        let conflict: Option<Conflict> = control_body(Some(row));
        let is_asked = |found: &Conflict| of_kind.as_ref().is_none_or(|kind| found.subject.kind == *kind);
        if conflict.is_some_and(|found| is_asked(&found)) {
            let tried = tried(hub, &tenant, &row.pointer.key.id, policy).await?;
            bytes = bytes.saturating_add(tried.encoded_len());
            conflicts.push(tried);
        }
        if bytes >= LIST_BYTES_MAX && at + 1 < rows.len() {
            next = Some(row.pointer.key.id.clone());
            break;
        }
    }
    let next_page_token = next.map(|id| token(&scope, id.as_str().as_bytes())).unwrap_or_default();
    Ok(v1::PreviewPolicyResponse { conflicts, next_page_token })
}

async fn tried(
    hub: &Hub,
    tenant: &TenantId,
    id: &RecordId,
    policy: Policy,
) -> Result<v1::PreviewedConflict, HubError> {
    let disputed = hub.disputed(tenant, id, None).await?;
    let conflict = &disputed.conflict;
    let outcome = hub.foreseen(tenant, &disputed, policy).await?;
    Ok(v1::PreviewedConflict {
        conflict: id.to_string(),
        subject: Some((&conflict.subject).into()),
        path: conflict.path.clone(),
        open: conflict.open,
        differs: outcome.differs(),
        waits: outcome.waits,
        came: Some(told::value(outcome.came)),
        would: Some(told::value(outcome.would)),
    })
}
