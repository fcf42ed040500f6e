//! AuditService: who did what, from commits and from the access log.

mod by;
pub(crate) mod known;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::v1;
use proto::v1::audit_service_server::AuditService;
use semantics::ids::{CommitNumber, Key, NodeId, Revision, TenantId};
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::Reason;
use serde_json::Value;
use tonic::{Request, Response, Status};

use self::by::By;
use super::admin::malformed;
use super::operators::within;
use super::paging::{position, size, token};
use super::{Gate, status};
use crate::access::{self, Filter, Position};
use crate::auth::{Trust, author_of};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::{NodeBody, control_body, node_key};
use crate::store::{CommitRow, LogRow, RowOutcome};

/// Commits looked through for one page; a page may be empty and not the last. Each brings the outcomes of all its
/// mutations.
const COMMITS_LOOKED_MAX: usize = 64;

/// The service.
#[derive(Debug, Clone)]
pub struct AuditHandler {
    /// What services share.
    pub gate: Arc<Gate>,
    /// Operators' names.
    pub trust: Arc<Trust>,
}

#[tonic::async_trait]
impl AuditService for AuditHandler {
    async fn list_changes(
        &self,
        request: Request<v1::ListChangesRequest>,
    ) -> Result<Response<v1::ListChangesResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        self.changes(request).await.map(Response::new).map_err(status::of)
    }

    async fn list_access(
        &self,
        request: Request<v1::ListAccessRequest>,
    ) -> Result<Response<v1::ListAccessResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        self.access(request).await.map(Response::new).map_err(status::of)
    }

    async fn verify_access(
        &self,
        request: Request<v1::VerifyAccessRequest>,
    ) -> Result<Response<v1::VerifyAccessResponse>, Status> {
        let (_, request) = within(request, |request| &request.tenant)?;
        verify::verify(&self.gate.hub, &request).await.map(Response::new).map_err(status::of)
    }
}

fn tenant_id(text: &str) -> Result<TenantId, HubError> {
    TenantId::new(text).map_err(|e| malformed("tenant", &e))
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Two numbers as a page token carries them.
fn pair(first: u64, second: u64) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

fn unpair(scope: &[&str], page_token: &str) -> Result<(u64, u64), HubError> {
    let Some(bytes) = position(scope, page_token)? else { return Ok((0, 0)) };
    let bad = || HubError::new(Reason::BadToken, "page_token: not of this list");
    let (first, second) = bytes.split_at_checked(8).ok_or_else(bad)?;
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| bad());
    Ok((number(first)?, number(second)?))
}

impl AuditHandler {
    async fn access(&self, request: v1::ListAccessRequest) -> Result<v1::ListAccessResponse, HubError> {
        let tenant = tenant_id(&request.tenant)?;
        let size = size(request.page_size)?;
        let times = format!("{:?} {:?}", request.since_ms, request.until_ms);
        let scope = ["access", tenant.as_str(), &times, &request.who, &request.event, &request.reason];
        let (block, entries) = unpair(&scope, &request.page_token)?;
        known::check(&request)?;
        let filter = Filter {
            since_ms: request.since_ms,
            until_ms: request.until_ms,
            who: self.asked(&tenant, &request.who).await?.map(|by| by.principals),
            event: given(request.event.clone()),
            reason: given(request.reason.clone()),
        };
        let page = access::page(&self.gate.hub, &tenant, &filter, Position { block, entries }, size).await?;
        let next = page.next.map(|next| token(&scope, &pair(next.block, next.entries)));
        let nodes = page.entries.iter().filter_map(|(_, entry)| node_of(&entry.who)).collect();
        let names = self.node_names(&tenant, &nodes).await?;
        let entries = page.entries.into_iter().map(|(number, entry)| {
            let node_name =
                node_of(&entry.who).and_then(|node| names.get(&node).cloned()).unwrap_or_default();
            let (time_ms, who, event) = (entry.time_ms, entry.who, entry.event.name().to_owned());
            let mut details = serde_json::to_value(&entry.event).unwrap_or_default();
            if let Value::Object(details) = &mut details {
                details.remove("event");
            }
            let details = details.to_string().into_bytes();
            v1::AccessEntry { number, time_ms, who, event, details, node_name }
        });
        Ok(v1::ListAccessResponse { entries: entries.collect(), next_page_token: next.unwrap_or_default() })
    }

    async fn changes(&self, request: v1::ListChangesRequest) -> Result<v1::ListChangesResponse, HubError> {
        let hub = &self.gate.hub;
        let tenant = tenant_id(&request.tenant)?;
        let size = size(request.page_size)?;
        let times = format!("{:?} {:?}", request.since_ms, request.until_ms);
        let scope = ["changes", tenant.as_str(), &times, &request.author, &request.kind, &request.outcome];
        let (mut after, mut skipped) = unpair(&scope, &request.page_token)?;
        known::check_outcome(&request.outcome)?;
        let authors = self.asked(&tenant, &request.author).await?.map(|by| by.authors);
        if request.page_token.is_empty()
            && let Some(since_ms) = request.since_ms
        {
            after = first_since(hub, &tenant, since_ms).await?;
        }
        let mut found = Vec::new();
        let mut next = None;
        let commits = hub.store().commits_after(&tenant, CommitNumber(after), COMMITS_LOOKED_MAX).await?;
        let is_last = commits.len() < COMMITS_LOOKED_MAX;
        'commits: for commit in commits {
            if request.until_ms.is_some_and(|until_ms| commit.time_ms >= until_ms) {
                next = None;
                break;
            }
            let mut seen = 0;
            for entry in entries(hub, &tenant, &commit).await? {
                seen += 1;
                let author = NodeId::from_slice(&entry.author).unwrap_or(NodeId::HUB);
                let is_asked_for = authors.as_ref().is_none_or(|authors| authors.contains(&author))
                    && (request.kind.is_empty() || entry.kind.as_deref() == Some(request.kind.as_str()))
                    && (request.outcome.is_empty() || entry.outcome == request.outcome)
                    && request.since_ms.is_none_or(|since_ms| entry.time_ms >= since_ms);
                if seen <= skipped || !is_asked_for {
                    continue;
                }
                found.push(entry);
                if found.len() >= size {
                    next = Some(pair(after, seen));
                    break 'commits;
                }
            }
            (after, skipped) = (commit.number.0, 0);
            next = (!is_last).then(|| pair(after, 0));
        }
        self.name(&tenant, &mut found).await?;
        let next_page_token = next.map(|position| token(&scope, &position)).unwrap_or_default();
        Ok(v1::ListChangesResponse { changes: found, next_page_token })
    }

    /// Everybody whom a word means; `None` = anyone.
    async fn asked(&self, tenant: &TenantId, word: &str) -> Result<Option<By>, HubError> {
        match word {
            "" => Ok(None),
            word => by::read(&self.gate.hub, &self.trust, tenant, word).await.map(Some),
        }
    }

    /// What the nodes among some ids are called, as far as it is known.
    async fn node_names(
        &self,
        tenant: &TenantId,
        ids: &BTreeSet<NodeId>,
    ) -> Result<BTreeMap<NodeId, String>, HubError> {
        let mut names = BTreeMap::new();
        for id in ids {
            let Some(key) = node_key(*id) else { continue };
            let body: Option<NodeBody> = control_body(self.gate.hub.control(tenant, &key).await?.as_ref());
            names.extend(body.map(|body| (*id, body.name)));
        }
        Ok(names)
    }

    /// Says who the authors are, as far as it is known.
    async fn name(&self, tenant: &TenantId, found: &mut [v1::ChangeEntry]) -> Result<(), HubError> {
        let authors: BTreeSet<NodeId> =
            found.iter().filter_map(|entry| NodeId::from_slice(&entry.author).ok()).collect();
        let mut names: BTreeMap<NodeId, String> = [(NodeId::HUB, "hub".to_owned())].into();
        for operator in self.trust.every_operator().await? {
            let id = author_of(&operator.tenant, &operator.name);
            names.insert(id, format!("{}/{}", operator.tenant, operator.name));
        }
        let others = authors.into_iter().filter(|author| !names.contains_key(author)).collect();
        names.extend(self.node_names(tenant, &others).await?);
        for entry in found {
            let author = NodeId::from_slice(&entry.author).ok();
            entry.author_name = author.and_then(|author| names.get(&author).cloned()).unwrap_or_default();
        }
        Ok(())
    }
}

/// The node that an entry of the access log is of.
fn node_of(who: &str) -> Option<NodeId> {
    who.strip_prefix("node/")?.parse().ok()
}

/// The number of the last commit before a time, as far as commits are kept.
async fn first_since(hub: &Hub, tenant: &TenantId, since_ms: u64) -> Result<u64, HubError> {
    let at = async |after: u64| hub.store().commits_after(tenant, CommitNumber(after), 1).await;
    let Some(first) = at(0).await?.pop() else { return Ok(0) };
    let (mut low, mut high) = (first.number.0.saturating_sub(1), hub.store().head(tenant).await?.commit.0);
    // Times of commits never go back. Before `low` all are too early, from `high` on none is.
    while low < high {
        let middle = low + (high - low) / 2;
        match at(middle).await?.pop() {
            Some(commit) if commit.time_ms < since_ms => low = commit.number.0,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// What is told of a row of the log.
struct Told {
    key: Key,
    author: NodeId,
    is_control: bool,
}

/// What a commit did: mutations in the order of their outcomes, then what operators and the hub wrote.
async fn entries(hub: &Hub, tenant: &TenantId, commit: &CommitRow) -> Result<Vec<v1::ChangeEntry>, HubError> {
    let told = |LogRow { revision, record, outcome, .. }| {
        let is_control = outcome == RowOutcome::Control;
        (revision, Told { key: record.key, author: record.author, is_control })
    };
    let revisions = (commit.first.0..=commit.last.0).map(Revision);
    let rows: BTreeMap<Revision, Told> = hub.of_rows(tenant, revisions, told).await?.into_iter().collect();
    let of_mutations = commit.outcomes.iter().map(|outcome| {
        let row = outcome.outcome.revision().and_then(|revision| rows.get(&revision));
        of_mutation(commit, outcome, row)
    });
    let of_hub = rows.iter().filter(|(_, row)| row.is_control);
    Ok(of_mutations.chain(of_hub.map(|(revision, row)| of_control(commit, *revision, row))).collect())
}

fn of_mutation(commit: &CommitRow, outcome: &DotOutcome, row: Option<&Told>) -> v1::ChangeEntry {
    let reason = match &outcome.outcome {
        Outcome::Rejected(refusal) => refusal.reason.as_str().to_owned(),
        _ => String::new(),
    };
    v1::ChangeEntry {
        commit: commit.number.0,
        time_ms: commit.time_ms,
        revision: outcome.outcome.revision().unwrap_or_default().0,
        author: outcome.dot.writer.node.as_bytes().to_vec(),
        author_name: String::new(),
        kind: row.map(|row| row.key.kind.to_string()),
        id: row.map(|row| row.key.id.to_string()),
        outcome: outcome.outcome.name().to_owned(),
        reason,
        mutation: outcome.mutation.as_bytes().to_vec(),
    }
}

fn of_control(commit: &CommitRow, revision: Revision, row: &Told) -> v1::ChangeEntry {
    v1::ChangeEntry {
        commit: commit.number.0,
        time_ms: commit.time_ms,
        revision: revision.0,
        author: row.author.as_bytes().to_vec(),
        author_name: String::new(),
        kind: Some(row.key.kind.to_string()),
        id: Some(row.key.id.to_string()),
        outcome: "control".to_owned(),
        reason: String::new(),
        mutation: Vec::new(),
    }
}
