//! Who holds a change: the cuts that nodes have acknowledged, against the views that they have.

use std::collections::{BTreeMap, BTreeSet};

use semantics::cursor::Cursor;
use semantics::envelope::Cell;
use semantics::ids::{Kind, NodeId, Revision, TenantId, Writer};
use semantics::kind;
use semantics::reason::Reason;
use semantics::seen::{Holder, Place, SEEN_NODES_MAX, SEEN_REVISIONS_MAX, Seen, count};
use serde::de::DeserializeOwned;

use super::error::HubError;
use super::known::{NodeBody, NodeStatus, control_body};
use super::presence::{Seen as Sign, joined};
use super::{Hub, Principal};
use crate::store::{LogRow, PointerQuery};

/// Control records read at once.
const PAGE_MAX: usize = 1_000;

impl Hub {
    /// How many other active nodes hold each of these changes, in their order. Reads only; what another gateway was
    /// told is known as late as [`super::presence`] says.
    ///
    /// # Errors
    /// NODE_REVOKED; TOO_LARGE past [`SEEN_REVISIONS_MAX`] revisions or [`SEEN_NODES_MAX`] nodes; NOT_FOUND for a
    /// revision that this node did not write; RECORD_GONE for one that was pruned; store errors.
    pub async fn count_seen(&self, who: &Principal, revisions: &[Revision]) -> Result<Vec<Seen>, HubError> {
        self.active_node(who).await?;
        if revisions.len() > SEEN_REVISIONS_MAX {
            let detail = format!("{} revisions, at most {SEEN_REVISIONS_MAX} are counted", revisions.len());
            return Err(HubError::new(Reason::TooLarge, detail));
        }
        let head = self.store().head(&who.tenant).await?;
        let wanted: BTreeSet<Revision> = revisions.iter().copied().collect();
        let of_row = |row: LogRow| (row.revision, is_of(&row, who.node).then_some(row.cell));
        let rows: BTreeMap<Revision, Option<Cell>> =
            self.of_rows(&who.tenant, wanted, of_row).await?.into_iter().collect();
        let mut places = Vec::with_capacity(revisions.len());
        for revision in revisions {
            let row = rows.get(revision);
            if row.is_none() && *revision <= head.horizon && *revision != Revision::ZERO {
                let detail = format!("revision {revision} was superseded and pruned");
                return Err(HubError::new(Reason::RecordGone, detail));
            }
            let cell = row.cloned().flatten().ok_or_else(|| {
                HubError::new(Reason::NotFound, format!("this node wrote no revision {revision}"))
            })?;
            places.push(Place { log_id: head.log_id, revision: *revision, cell });
        }
        let others = self.holders(&who.tenant, Some(who.node)).await?;
        Ok(places.iter().map(|place| count(place, others.values())).collect())
    }

    /// Every active node, perhaps but one, with its view and what its open writers have acknowledged.
    pub(super) async fn holders(
        &self,
        tenant: &TenantId,
        but: Option<NodeId>,
    ) -> Result<BTreeMap<NodeId, Holder>, HubError> {
        let mut holders = BTreeMap::new();
        for (node, (body, _)) in self.of_nodes::<NodeBody>(tenant, kind::NODE).await? {
            if Some(node) != but && body.status == NodeStatus::Active {
                holders.insert(node, Holder::default());
            }
        }
        for (node, (view, view_revision)) in self.of_nodes(tenant, kind::VIEW).await? {
            if let Some(holder) = holders.get_mut(&node) {
                *holder = Holder { view, view_revision, acknowledged: Vec::new() };
            }
        }
        let mut stored: BTreeMap<Writer, Sign> =
            self.all_seen(tenant).await?.into_iter().map(|sign| (sign.writer, sign)).collect();
        for row in self.all_writers(tenant).await?.iter().filter(|row| !row.closed) {
            let Some(holder) = holders.get_mut(&row.writer.node) else { continue };
            let sign = joined(stored.remove(&row.writer), self.live(tenant, row.writer));
            holder
                .acknowledged
                .extend(sign.and_then(|sign| sign.cursor).into_iter().collect::<Vec<Cursor>>());
        }
        Ok(holders)
    }

    /// The live control records of a kind whose ids are nodes, with their revisions.
    pub(super) async fn of_nodes<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        kind: &str,
    ) -> Result<BTreeMap<NodeId, (T, Revision)>, HubError> {
        let kind = Kind::new(kind).map_err(|e| HubError::internal(e.to_string()))?;
        let mut query = PointerQuery { kind: Some(kind), rows_max: PAGE_MAX, ..PointerQuery::default() };
        let mut found = BTreeMap::new();
        loop {
            let page = self.records(tenant, query.clone()).await?;
            query.after = page.rows.last().map(|row| row.pointer.key.clone());
            for row in page.rows.iter().filter(|row| !row.pointer.deleted) {
                let node = row.pointer.key.id.as_str().parse::<NodeId>().ok();
                found.extend(node.zip(control_body(Some(row)).map(|body| (body, row.pointer.revision))));
            }
            if found.len() > SEEN_NODES_MAX {
                let detail = format!("the tenant has more than {SEEN_NODES_MAX} nodes: too many to count");
                return Err(HubError::new(Reason::TooLarge, detail));
            }
            if page.is_last || query.after.is_none() {
                return Ok(found);
            }
        }
    }
}

fn is_of(row: &LogRow, node: NodeId) -> bool {
    row.mutation.is_some() && row.dot.writer.node == node
}
