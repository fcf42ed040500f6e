//! What operators look up and list.

use std::collections::BTreeMap;

use proto::v1;
use semantics::builtin;
use semantics::ids::{Key, Kind, RecordId, Revision, TenantId};
use semantics::kind::{self, Declaration};
use semantics::reason::Reason;

use super::admin::{malformed, request_key, tenant_id};
use super::history::explained;
use super::paging::{position, size, text_position, token};
use super::view;
use crate::auth;
use crate::hub::error::HubError;
use crate::hub::known::control_body;
use crate::hub::{Hub, Principal};
use crate::store::{Current, LogRow, PointerQuery};

pub(super) async fn tenants(
    hub: &Hub,
    request: &v1::ListTenantsRequest,
) -> Result<v1::ListTenantsResponse, HubError> {
    let (size, scope) = (size(request.page_size)?, ["tenants"]);
    let after = text_position(&scope, &request.page_token)?;
    let after = after.map(TenantId::new).transpose().map_err(|e| malformed("page_token", &e))?;
    // One more than the page tells whether there are more, and one for the hub's own, which is not listed.
    let mut found = hub.store().tenants(after.as_ref(), size.saturating_add(2)).await?;
    let own = auth::hub_tenant()?;
    found.retain(|tenant| *tenant != own);
    let is_last = found.len() <= size;
    found.truncate(size);
    let next_page_token = match found.last() {
        Some(last) if !is_last => token(&scope, last.as_str().as_bytes()),
        _ => String::new(),
    };
    let mut tenants = Vec::new();
    for tenant in found {
        let head = hub.store().head(&tenant).await?;
        tenants.push(v1::TenantView {
            tenant: tenant.to_string(),
            log_id: head.log_id.as_bytes().to_vec(),
            commit: head.commit.0,
            revision: head.revision.0,
            horizon: head.horizon.0,
        });
    }
    Ok(v1::ListTenantsResponse { tenants, next_page_token })
}

/// A page of one control kind's live records, and where the next one goes on: after a deleted one too, whose page may
/// be empty.
pub(super) async fn controls(
    hub: &Hub,
    tenant: &TenantId,
    kind: &str,
    after: Option<String>,
    rows_max: usize,
) -> Result<(Vec<Current>, Option<RecordId>), HubError> {
    let internal = |_| HubError::internal("a control kind is no name");
    let kind = Kind::new(kind).map_err(internal)?;
    let after = after.map(RecordId::new).transpose().map_err(|e| malformed("page_token", &e))?;
    let after = after.map(|id| Key { kind: kind.clone(), id });
    let query = PointerQuery { after, kind: Some(kind), rows_max, ..PointerQuery::default() };
    let page = hub.records(tenant, query).await?;
    let last = page.rows.last().map(|row| row.pointer.key.id.clone());
    let rows = page.rows.into_iter().filter(|row| !row.pointer.deleted).collect();
    Ok((rows, last.filter(|_| !page.is_last)))
}

pub(super) async fn kinds(
    hub: &Hub,
    request: &v1::ListKindsRequest,
) -> Result<v1::ListKindsResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let (declared, next_page_token) =
        page_of_kinds(hub, &tenant, size(request.page_size)?, &request.page_token).await?;
    let declarations: Result<Vec<_>, _> = declared.iter().map(serde_json::to_vec).collect();
    let declarations = declarations.map_err(|e| HubError::internal(e.to_string()))?;
    Ok(v1::ListKindsResponse { declarations, next_page_token })
}

/// A page of the kinds there are, and the token of the next one.
pub(super) async fn page_of_kinds(
    hub: &Hub,
    tenant: &TenantId,
    size: usize,
    page_token: &str,
) -> Result<(Vec<Declaration>, String), HubError> {
    let scope = ["kinds", tenant.as_str()];
    let after = text_position(&scope, page_token)?;
    let built_in = builtin::all().iter().filter(|declaration| kind::is_pushable(&declaration.name));
    let built_in =
        built_in.filter(|declaration| after.as_deref().is_none_or(|a| declaration.name.as_str() > a));
    let mut named: BTreeMap<Kind, Declaration> = built_in.map(|d| (d.name.clone(), d.clone())).collect();
    let (rows, next) = controls(hub, tenant, kind::KIND, after, size).await?;
    // What was not read yet comes after the last row read: names beyond it wait for their page.
    let read_to = next.map(|id| id.to_string());
    for row in &rows {
        let declared: Option<Declaration> = control_body(Some(row));
        named.extend(declared.map(|declared| (declared.name.clone(), declared)));
    }
    let mut names: Vec<Kind> = named.keys().cloned().collect();
    names.retain(|name| read_to.as_deref().is_none_or(|to| name.as_str() <= to));
    let is_cut = names.len() > size;
    names.truncate(size);
    let next = if is_cut { names.last().map(ToString::to_string) } else { read_to };
    let next_page_token = next.map(|last| token(&scope, last.as_bytes())).unwrap_or_default();
    Ok((names.iter().filter_map(|name| named.remove(name)).collect(), next_page_token))
}

pub(super) async fn records(
    hub: &Hub,
    request: v1::ListHubRecordsRequest,
) -> Result<v1::ListHubRecordsResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let rows_max = size(request.page_size)?;
    let deleted = if request.with_deleted { "deleted" } else { "live" };
    let scope = ["records", tenant.as_str(), &request.kind, &request.prefix, deleted];
    let after = match position(&scope, &request.page_token)? {
        Some(bytes) => Some(serde_json::from_slice::<Key>(&bytes).map_err(|e| malformed("page_token", &e))?),
        None => None,
    };
    let only = Some(request.kind.clone()).filter(|kind| !kind.is_empty());
    let kind = only.map(Kind::new).transpose().map_err(|e| malformed("kind", &e))?;
    let prefix = Some(request.prefix.clone()).filter(|prefix| !prefix.is_empty());
    let query = PointerQuery { after, kind, prefix, rows_max, ..PointerQuery::default() };
    let page = hub.records(&tenant, query).await?;
    let next_page_token = match page.rows.last() {
        Some(last) if !page.is_last => {
            let key = serde_json::to_vec(&last.pointer.key).map_err(|e| HubError::internal(e.to_string()))?;
            token(&scope, &key)
        }
        _ => String::new(),
    };
    let shown = page.rows.into_iter().filter(|row| request.with_deleted || !row.pointer.deleted);
    Ok(v1::ListHubRecordsResponse { records: shown.map(view::record).collect(), next_page_token })
}

pub(super) async fn history(
    hub: &Hub,
    request: &v1::ListHistoryRequest,
    key: &Key,
) -> Result<v1::ListHistoryResponse, HubError> {
    let tenant = tenant_id(&request.tenant)?;
    let (rows, next_page_token) =
        history_page(hub, &tenant, key, request.page_size, &request.page_token).await?;
    Ok(v1::ListHistoryResponse { rows: explained(hub, &tenant, rows, None).await?, next_page_token })
}

/// What a node's view shows of a record's history. Of what lies outside of it the node learns nothing.
pub(super) async fn node_history(
    hub: &Hub,
    who: &Principal,
    request: v1::ListRecordHistoryRequest,
) -> Result<v1::ListRecordHistoryResponse, HubError> {
    hub.active_node(who).await?;
    let key = request_key(request.key)?;
    let seen = hub.view_of(who).await?;
    let absent = || HubError::new(Reason::NotFound, format!("no record {key}"));
    let current = hub.record(&who.tenant, &key).await?.ok_or_else(absent)?;
    if !seen.contains(&current.pointer.cell) {
        return Err(absent());
    }
    let (rows, next_page_token) =
        history_page(hub, &who.tenant, &key, request.page_size, &request.page_token).await?;
    let rows = rows.into_iter().filter(|row| seen.contains(&row.cell)).collect();
    let rows = explained(hub, &who.tenant, rows, Some(&seen)).await?;
    Ok(v1::ListRecordHistoryResponse { rows, next_page_token })
}

async fn history_page(
    hub: &Hub,
    tenant: &TenantId,
    key: &Key,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<LogRow>, String), HubError> {
    let size = size(page_size)?;
    let scope = ["history", tenant.as_str(), key.kind.as_str(), key.id.as_str()];
    let from = match text_position(&scope, page_token)? {
        Some(text) => Some(Revision(text.parse().map_err(|e| malformed("page_token", &e))?)),
        None => None,
    };
    let page = hub.history(tenant, key, from, size).await?;
    let next_page_token = page.next.map(|next| token(&scope, next.to_string().as_bytes()));
    Ok((page.rows, next_page_token.unwrap_or_default()))
}
