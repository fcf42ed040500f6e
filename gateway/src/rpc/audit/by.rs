//! Whom a listing is asked about: a person's word for somebody, and everybody it may mean.

use std::collections::BTreeSet;

use semantics::ids::{Kind, NodeId, TenantId};
use semantics::kind;
use semantics::reason::Reason;

use crate::auth::{Trust, author_of};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::{NodeBody, control_body};
use crate::store::{PointerQuery, Space};

/// Registrations read at once.
const PAGE_MAX: usize = 1_000;

/// Everybody whom a word means, as the access log names them, and as changes do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct By {
    /// `node/ID`, `operator/TENANT/NAME`, `address/IP`, `hub`; with a slash at its end: all whose name begins so.
    pub(super) principals: BTreeSet<String>,
    /// Authors of changes. A name that nobody bears, or bore, wrote none.
    pub(super) authors: BTreeSet<NodeId>,
}

impl By {
    fn node(&mut self, id: NodeId) {
        self.principals.insert(format!("node/{id}"));
        self.authors.insert(id);
    }

    fn operator(&mut self, tenant: &TenantId, name: &str) {
        self.principals.insert(format!("operator/{tenant}/{name}"));
        self.authors.insert(author_of(tenant, name));
    }

    fn principal(principal: &str) -> Self {
        Self { principals: [principal.to_owned()].into(), ..Self::default() }
    }
}

/// Reads a word: `hub`, `address/IP`, `node/NAME`, `node/ID`, `operator/TENANT/NAME`, the same without what stands
/// before, the id of an operator, or the beginning of a name as far as a slash. A node's name means everyone who bears
/// or bore it, because the name of a revoked node is given again.
///
/// # Errors
/// NOT_FOUND for a name that no node has had; store errors.
pub(super) async fn read(hub: &Hub, trust: &Trust, tenant: &TenantId, word: &str) -> Result<By, HubError> {
    if word == "hub" {
        return Ok(By { authors: [NodeId::HUB].into(), ..By::principal(word) });
    }
    if word.starts_with("address/") {
        return Ok(By::principal(word));
    }
    if word.ends_with('/') {
        return beginning(hub, trust, tenant, word).await;
    }
    let bare = word.strip_prefix("node/").or_else(|| word.strip_prefix("operator/")).unwrap_or(word);
    let (is_node, is_operator) = (word.starts_with("node/"), word.starts_with("operator/"));
    let no_operator = || HubError::new(Reason::NotFound, format!("no operator {bare:?}"));
    let mut by = By::default();
    if let Some((of, name)) = bare.split_once('/').filter(|_| !is_node) {
        by.operator(&TenantId::new(of).map_err(|_| no_operator())?, name);
        return Ok(by);
    }
    match bare.parse() {
        Ok(id) => {
            if !is_operator {
                by.node(id);
            }
            let operators = trust.every_operator().await?;
            for operator in operators.iter().filter(|known| author_of(&known.tenant, &known.name) == id) {
                by.operator(&operator.tenant, &operator.name);
            }
        }
        Err(_) if is_operator => return Err(no_operator()),
        Err(_) => bearers(hub, tenant, bare).await?.into_iter().for_each(|id| by.node(id)),
    }
    Ok(by)
}

/// Everybody whose name begins with a word: every node for `node/`, every operator it fits otherwise.
async fn beginning(hub: &Hub, trust: &Trust, tenant: &TenantId, word: &str) -> Result<By, HubError> {
    let mut by = By::principal(word);
    if word == "node/" {
        by.authors = nodes(hub, tenant, |_| true).await?;
        return Ok(by);
    }
    for operator in trust.every_operator().await? {
        if format!("operator/{}/{}", operator.tenant, operator.name).starts_with(word) {
            by.authors.insert(author_of(&operator.tenant, &operator.name));
        }
    }
    Ok(by)
}

/// Every node that has this name, revoked ones included.
async fn bearers(hub: &Hub, tenant: &TenantId, name: &str) -> Result<BTreeSet<NodeId>, HubError> {
    let none = || HubError::new(Reason::NotFound, format!("no node {name:?} in {tenant}"));
    let last = hub.store().plain_get(tenant, Space::Node, name.as_bytes()).await?.ok_or_else(none)?;
    let mut found = nodes(hub, tenant, |body| body.name == name).await?;
    found.extend(NodeId::from_slice(&last.value));
    Ok(found)
}

/// Nodes of a tenant, revoked ones included.
async fn nodes(
    hub: &Hub,
    tenant: &TenantId,
    is_wanted: impl Fn(&NodeBody) -> bool,
) -> Result<BTreeSet<NodeId>, HubError> {
    let mut found = BTreeSet::new();
    let kind = Kind::new(kind::NODE).map_err(|e| HubError::internal(e.to_string()))?;
    let mut query = PointerQuery { kind: Some(kind), rows_max: PAGE_MAX, ..PointerQuery::default() };
    loop {
        let page = hub.records(tenant, query.clone()).await?;
        query.after = page.rows.last().map(|row| row.pointer.key.clone());
        for row in &page.rows {
            let is_it = control_body::<NodeBody>(Some(row)).is_some_and(|body| is_wanted(&body));
            found.extend(row.pointer.key.id.as_str().parse::<NodeId>().ok().filter(|_| is_it));
        }
        if page.is_last || query.after.is_none() {
            return Ok(found);
        }
    }
}
