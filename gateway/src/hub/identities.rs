//! Identities as operators look at them: how each stands, who has it, and how far the systems that write it have come
//! apart. Reads only.
//!
//! - `a_node_that_misses_an_acknowledgement_is_shown_and_clears_itself`.
//! - `systems_that_write_one_identity_are_compared_pair_by_pair`: each by the last state that it wrote, whether that stands
//!   or not.
//! - `a_collapse_that_was_kept_out_is_told_until_its_author_is_healthy_again`.

use std::collections::{BTreeMap, BTreeSet};

use semantics::envelope::Op;
use semantics::health::Health;
use semantics::identity::KIND;
use semantics::identity::divergence::{Level, divergence, markers};
use semantics::identity::reach::Reach;
use semantics::identity::score::Status;
use semantics::identity::snapshot::Problem;
use semantics::identity::summary::{Summary, is_collapsed};
use semantics::identity::trend::{self, Trend};
use semantics::identity::validate::across;
use semantics::ids::{Kind, LogId, NodeId, RecordId, Revision, TenantId, Writer};
use semantics::kind;
use semantics::seen::{Holder, Place};
use serde_json::Value;

use super::Hub;
use super::error::HubError;
use super::known::NodeBody;
use super::presence::Agreed;
use crate::store::{Current, LogRow, PointerQuery};

/// Most identities looked at for one call.
pub const IDENTITIES_MAX: usize = 100;
/// Most nodes that are named for one identity; those without its state come first.
pub const NODES_NAMED_MAX: usize = 64;
/// Rows of an identity's history that are looked through for what each system wrote last.
pub const SYSTEMS_ROWS_MAX: usize = 32;
/// Identities that the counters are made of, in order of their ids.
pub const MEASURED_MAX: usize = 32;

/// A node to which an identity belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reader {
    /// Whether it has the state that stands.
    pub reach: Reach,
    /// Its name.
    pub name: String,
    /// Its id.
    pub node: NodeId,
    /// Commits between what it acknowledged and the head; none = it acknowledged nothing of this log.
    pub lag_commits: Option<u64>,
}

/// A collapsed state that did not take the place of what stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptOut {
    /// The revision at which it came.
    pub revision: Revision,
    /// Who wrote it.
    pub author: NodeId,
    /// The author's name; an id that no active node has stands for itself.
    pub name: String,
}

/// How an identity stands.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityHealth {
    /// Which.
    pub id: RecordId,
    /// The revision of its state.
    pub revision: Revision,
    /// What its state comes to; the trend is that of the last states, where history keeps enough of them.
    pub summary: Summary,
    /// The last state that was written, where it has collapsed and was kept out.
    pub kept_out: Option<KeptOut>,
    /// Conflicts about it that are open.
    pub open_conflicts: usize,
    /// How many nodes have the state, are behind, are possibly desynchronised.
    pub reached: BTreeMap<Reach, u64>,
    /// The nodes, those without the state first, at most [`NODES_NAMED_MAX`].
    pub nodes: Vec<Reader>,
}

/// Two systems that write one identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The identity.
    pub id: RecordId,
    /// The systems, by the names of their nodes.
    pub systems: [String; 2],
    /// How far apart.
    pub divergence: f64,
    /// What that means.
    pub level: Level,
    /// What keeps their states from being one identity, with the paths of the second.
    pub problems: Vec<Problem>,
}

/// What the counters show of a tenant's identities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// Identities by status.
    pub statuses: BTreeMap<Status, u64>,
    /// Nodes that are possibly desynchronised, once for each identity.
    pub desynchronised: u64,
    /// Identities whose last state has collapsed and was kept out.
    pub kept_out: u64,
    /// Pairs of systems by how far they have come apart.
    pub levels: BTreeMap<Level, u64>,
}

/// What identities are looked at against.
pub(super) struct Frame {
    pub(super) log_id: LogId,
    head: u64,
    pub(super) nodes: BTreeMap<NodeId, Known>,
}

/// A node as identities are looked at against it.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) holder: Holder,
    pub(super) health: Health,
    /// What its replicas came to beside the hub.
    pub(super) agreed: Vec<Agreed>,
}

/// A page of a list over identities, and the last that was looked at; none = it was the last page.
pub type Paged<T> = (Vec<T>, Option<RecordId>);

impl Hub {
    /// How identities stand, a page of at most [`IDENTITIES_MAX`] in order of their ids.
    ///
    /// # Errors
    /// TOO_LARGE past [`semantics::seen::SEEN_NODES_MAX`] nodes; store errors.
    pub async fn identity_health(
        &self,
        tenant: &TenantId,
        after: Option<RecordId>,
        max: usize,
    ) -> Result<Paged<IdentityHealth>, HubError> {
        let (rows, last) = self.identities(tenant, after, max).await?;
        let frame = self.identity_frame(tenant).await?;
        let mut found = Vec::new();
        for row in &rows {
            let history = self.history(tenant, &row.pointer.key, None, trend::POINTS_MAX).await?.rows;
            found.push(frame.health(row, &history));
        }
        Ok((found, last))
    }

    /// How far apart the systems are that write an identity, for a page of at most [`IDENTITIES_MAX`] identities.
    ///
    /// # Errors
    /// Store errors.
    pub async fn identity_divergence(
        &self,
        tenant: &TenantId,
        after: Option<RecordId>,
        max: usize,
    ) -> Result<Paged<Pair>, HubError> {
        let (rows, last) = self.identities(tenant, after, max).await?;
        let names = self.names_of_nodes(tenant).await?;
        let mut found = Vec::new();
        for row in &rows {
            let history = self.history(tenant, &row.pointer.key, None, SYSTEMS_ROWS_MAX).await?.rows;
            found.extend(pairs(&row.pointer.key.id, &history, &names));
        }
        Ok((found, last))
    }

    /// What the counters show, of the first [`MEASURED_MAX`] identities.
    ///
    /// # Errors
    /// Those of the lists.
    pub async fn measure_identities(&self, tenant: &TenantId) -> Result<Measured, HubError> {
        let mut measured = Measured::default();
        let (rows, _) = self.identities(tenant, None, MEASURED_MAX).await?;
        if rows.is_empty() {
            return Ok(measured);
        }
        let (frame, names) = (self.identity_frame(tenant).await?, self.names_of_nodes(tenant).await?);
        for row in &rows {
            // One reading for both.
            let history = self.history(tenant, &row.pointer.key, None, SYSTEMS_ROWS_MAX).await?.rows;
            let one = frame.health(row, history.get(..trend::POINTS_MAX).unwrap_or(&history));
            if let Some(status) = one.summary.status {
                *measured.statuses.entry(status).or_default() += 1;
            }
            measured.desynchronised +=
                one.reached.get(&Reach::PossiblyDesynchronised).copied().unwrap_or_default();
            measured.kept_out += u64::from(one.kept_out.is_some());
            for pair in pairs(&row.pointer.key.id, &history, &names) {
                *measured.levels.entry(pair.level).or_default() += 1;
            }
        }
        Ok(measured)
    }

    async fn names_of_nodes(&self, tenant: &TenantId) -> Result<BTreeMap<NodeId, String>, HubError> {
        let nodes = self.of_nodes::<NodeBody>(tenant, kind::NODE).await?;
        Ok(nodes.into_iter().map(|(node, (body, _))| (node, body.name)).collect())
    }

    pub(super) async fn identities(
        &self,
        tenant: &TenantId,
        after: Option<RecordId>,
        max: usize,
    ) -> Result<Paged<Current>, HubError> {
        let kind = Kind::new(KIND).map_err(|e| HubError::internal(e.to_string()))?;
        let after = after.map(|id| semantics::ids::Key { kind: kind.clone(), id });
        let rows_max = max.clamp(1, IDENTITIES_MAX);
        let query = PointerQuery { kind: Some(kind), after, rows_max, ..PointerQuery::default() };
        let page = self.records(tenant, query).await?;
        let last = page.rows.last().map(|row| row.pointer.key.id.clone()).filter(|_| !page.is_last);
        Ok((page.rows.into_iter().filter(|row| !row.pointer.deleted).collect(), last))
    }

    pub(super) async fn identity_frame(&self, tenant: &TenantId) -> Result<Frame, HubError> {
        let head = self.store().head(tenant).await?;
        let health = self.health(tenant).await?;
        let mut holders = self.holders(tenant, None).await?;
        let nodes = self.of_nodes::<NodeBody>(tenant, kind::NODE).await?;
        let nodes = nodes.into_iter().filter_map(|(node, (body, _))| {
            let health = health.get(&node).copied().unwrap_or(Health::Offline);
            let (holder, agreed) = holders.remove(&node)?;
            Some((node, Known { name: body.name, holder, health, agreed }))
        });
        Ok(Frame { log_id: head.log_id, head: head.commit.0, nodes: nodes.collect() })
    }
}

impl Frame {
    fn health(&self, row: &Current, history: &[LogRow]) -> IdentityHealth {
        let place =
            Place { log_id: self.log_id, revision: row.pointer.revision, cell: row.pointer.cell.clone() };
        let mut nodes: Vec<Reader> = self.readers(&place).collect();
        nodes.sort_by(|a, b| b.reach.cmp(&a.reach).then_with(|| a.name.cmp(&b.name)));
        let mut reached = BTreeMap::new();
        for reader in &nodes {
            *reached.entry(reader.reach).or_default() += 1;
        }
        nodes.truncate(NODES_NAMED_MAX);
        let mut summary = document(row.record.body()).as_ref().map(Summary::of).unwrap_or_default();
        summary.trend = trend_of(history).or(summary.trend);
        let kept_out = self.kept_out(history).filter(|_| summary.status != Some(Status::Collapsed));
        let (id, revision) = (row.pointer.key.id.clone(), row.pointer.revision);
        let open_conflicts = row.pointer.open.len();
        IdentityHealth { id, revision, summary, kept_out, open_conflicts, reached, nodes }
    }

    fn kept_out(&self, newest_first: &[LogRow]) -> Option<KeptOut> {
        let written = newest_first.iter().filter_map(|row| Some((row, row.mutation.as_ref()?)));
        let (row, last) = written.into_iter().find(|(_, mutation)| mutation.dot.writer != Writer::HUB)?;
        let Op::Put { body } = &last.op else { return None };
        let has_collapsed = document(Some(body)).is_some_and(|state| is_collapsed(&state));
        let author = last.author;
        let name = self.nodes.get(&author).map_or_else(|| author.to_string(), |known| known.name.clone());
        let stands = row.record.body() == Some(body.as_ref());
        (has_collapsed && !stands).then_some(KeptOut { revision: row.revision, author, name })
    }

    fn readers<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = Reader> + 'a {
        let able = self.nodes.iter().filter(|(_, known)| known.holder.is_able(place));
        able.map(|(node, known)| {
            let of_this_log = known.holder.acknowledged.iter().filter(|cursor| cursor.log_id == self.log_id);
            let furthest = of_this_log.map(|cursor| cursor.commit.0).max();
            Reader {
                reach: Reach::of(known.holder.has(place), known.health),
                name: known.name.clone(),
                node: *node,
                lag_commits: furthest.map(|commit| self.head.saturating_sub(commit)),
            }
        })
    }
}

pub(super) fn document(body: Option<&[u8]>) -> Option<Value> {
    serde_json::from_slice(body?).ok()
}

/// The trend of the states that stood, each once: a row that changed nothing of the body is no new point.
fn trend_of(newest_first: &[LogRow]) -> Option<Trend> {
    let mut bodies: Vec<&[u8]> = newest_first.iter().rev().filter_map(|row| row.record.body()).collect();
    bodies.dedup();
    let scores: Vec<f64> =
        bodies.into_iter().filter_map(|body| Summary::of(&document(Some(body))?).score).collect();
    trend::of(&scores)
}

/// The systems of one identity, by the last state that each wrote whose score can be read.
fn pairs(id: &RecordId, newest_first: &[LogRow], names: &BTreeMap<NodeId, String>) -> Vec<Pair> {
    let mut states: BTreeMap<NodeId, (f64, BTreeSet<String>, Value)> = BTreeMap::new();
    for mutation in newest_first.iter().filter_map(|row| row.mutation.as_ref()) {
        if mutation.author == NodeId::HUB || states.contains_key(&mutation.author) {
            continue;
        }
        let Op::Put { body } = &mutation.op else { continue };
        let Some(state) = document(Some(body)) else { continue };
        if let Some(score) = Summary::of(&state).score {
            states.insert(mutation.author, (score, markers(&state), state));
        }
    }
    let named = |node: &NodeId| names.get(node).cloned().unwrap_or_else(|| node.to_string());
    let all: Vec<_> = states.iter().collect();
    let mut found = Vec::new();
    for (at, (a, (a_score, a_markers, first))) in all.iter().enumerate() {
        for (b, (b_score, b_markers, second)) in all.iter().skip(at + 1) {
            let apart = divergence((*a_score, a_markers), (*b_score, b_markers));
            let (systems, level) = ([named(a), named(b)], Level::of(apart));
            let problems = across(first, second);
            found.push(Pair { id: id.clone(), systems, divergence: apart, level, problems });
        }
    }
    found
}
