//! What operators and tests ask: records, histories, digests.

use std::collections::BTreeSet;

use semantics::commit::Head;
use semantics::ids::{Digest, Key, NodeId, Revision, TenantId};
use semantics::reason::Reason;
use semantics::view::View;

use super::catch_up::view_digest;
use super::error::HubError;
use super::known::{control_body, view_key};
use super::{Hub, Principal};
use crate::store::{CellRow, Current, LogQuery, LogRow, PAGE_CELLS_MAX, PointerPage, PointerQuery, Wanted};

/// Most rows of a history given at once.
pub const HISTORY_ROWS_MAX: usize = 1_000;
/// Most records listed at once.
pub const LIST_ROWS_MAX: usize = 1_000;
/// Weight at which a listing stops, bytes.
pub const LIST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most whole rows of the log read at once where little is kept of each: with their bodies they may weigh 8 MiB.
const ROWS_READ_MAX: usize = 16;

/// A page of a record's history.
#[derive(Debug)]
pub struct History {
    /// Rows of the log, newest first.
    pub rows: Vec<LogRow>,
    /// The revision at which the next page begins; none = what is kept ends here, as far as is known.
    pub next: Option<Revision>,
}

impl Hub {
    /// A live record or tombstone.
    ///
    /// # Errors
    /// Store errors.
    pub async fn record(&self, tenant: &TenantId, key: &Key) -> Result<Option<Current>, HubError> {
        let wanted = Wanted { keys: [key.clone()].into(), ..Wanted::default() };
        Ok(self.store().load(tenant, &wanted).await?.current.remove(key))
    }

    /// A page of records in key order, tombstones included.
    ///
    /// # Errors
    /// Store errors.
    pub async fn records(&self, tenant: &TenantId, query: PointerQuery) -> Result<PointerPage, HubError> {
        let rows_max = query.rows_max.clamp(1, LIST_ROWS_MAX);
        let query = PointerQuery { rows_max, bytes_max: LIST_BYTES_MAX, ..query };
        Ok(self.store().pointer_page(tenant, &query).await?)
    }

    /// What `kept` leaves of these rows of the log, those that are still there, in order. They are read a few at a time.
    ///
    /// # Errors
    /// Store errors.
    pub async fn of_rows<T>(
        &self,
        tenant: &TenantId,
        revisions: impl IntoIterator<Item = Revision> + Send,
        kept: impl Fn(LogRow) -> T + Send,
    ) -> Result<Vec<T>, HubError> {
        let revisions: Vec<Revision> = revisions.into_iter().collect();
        let mut found = Vec::with_capacity(revisions.len());
        for revisions in revisions.chunks(ROWS_READ_MAX) {
            let rows = self.store().rows(tenant, &revisions.iter().copied().collect()).await?;
            found.extend(rows.into_iter().map(&kept));
        }
        Ok(found)
    }

    /// What is kept of a record's history, newest first, from its newest row or the one at `from`: at most `max` and
    /// [`HISTORY_ROWS_MAX`] rows, and as many as weigh [`LIST_BYTES_MAX`] together, one at least.
    ///
    /// # Errors
    /// NOT_FOUND; BAD_TOKEN where the row at `from` is another record's; store errors.
    pub async fn history(
        &self,
        tenant: &TenantId,
        key: &Key,
        from: Option<Revision>,
        max: usize,
    ) -> Result<History, HubError> {
        let current = self.record(tenant, key).await?;
        let current = current.ok_or_else(|| HubError::new(Reason::NotFound, format!("no record {key}")))?;
        let mut next = Some(from.unwrap_or(current.pointer.revision));
        let (mut rows, mut bytes): (Vec<LogRow>, usize) = (Vec::new(), 0);
        while let Some(at) = next.filter(|_| rows.len() < max.min(HISTORY_ROWS_MAX)) {
            let row = self.store().rows(tenant, &BTreeSet::from([at])).await?.pop();
            let Some(row) = row else { return Ok(History { rows, next: None }) };
            if row.record.key != *key {
                return Err(HubError::new(Reason::BadToken, "the page begins at another record's row"));
            }
            bytes = bytes.saturating_add(weight(&row));
            if bytes > LIST_BYTES_MAX && !rows.is_empty() {
                break;
            }
            next = Some(row.previous).filter(|previous| *previous != Revision::ZERO);
            rows.push(row);
        }
        Ok(History { rows, next })
    }

    /// Digest of a node's view as of the head.
    ///
    /// # Errors
    /// Those of [`Hub::cells_of`].
    pub async fn digest(&self, tenant: &TenantId, node: NodeId) -> Result<(Head, Digest), HubError> {
        let (head, view, cells) = self.cells_of(tenant, node).await?;
        Ok((head, view_digest(&view, &cells)))
    }

    /// Every cell of the tenant as of the head, and a node's view there.
    ///
    /// # Errors
    /// NOT_FOUND; TOO_LARGE when the tenant has more than [`PAGE_CELLS_MAX`] cells; OVERLOADED when the log does not
    /// stand still for long enough; store errors.
    pub async fn cells_of(
        &self,
        tenant: &TenantId,
        node: NodeId,
    ) -> Result<(Head, View, Vec<CellRow>), HubError> {
        let key = view_key(node).ok_or_else(|| HubError::internal("a node id is no record id"))?;
        let after = self.store().head(tenant).await?.revision;
        let query = LogQuery {
            after,
            rows_max: LIST_ROWS_MAX,
            bytes_max: LIST_BYTES_MAX,
            keys: BTreeSet::from([key.clone()]),
            with_cells: true,
        };
        let page = self.store().log_page(tenant, &query).await?;
        let view: Option<View> = control_body(page.current.get(&key));
        let view = view.ok_or_else(|| HubError::new(Reason::NotFound, format!("no node {node}")))?;
        if !page.reaches_head {
            let detail = "the log moves too fast to read its end";
            return Err(HubError::transient(Reason::Overloaded, detail, 100));
        }
        if !page.has_cells {
            let detail = format!("the tenant has more than {PAGE_CELLS_MAX} cells: too many for a digest");
            return Err(HubError::new(Reason::TooLarge, detail));
        }
        Ok((page.head, view, page.cells))
    }

    /// A node's view as it is now; nothing when it has none.
    ///
    /// # Errors
    /// Store errors.
    pub async fn view_of(&self, who: &Principal) -> Result<View, HubError> {
        let Some(key) = view_key(who.node) else { return Ok(View::default()) };
        Ok(control_body(self.control(&who.tenant, &key).await?.as_ref()).unwrap_or_default())
    }
}

/// What a row takes where it is told with its mutation.
fn weight(row: &LogRow) -> usize {
    row.record.weight() + row.mutation.as_ref().map_or(0, |mutation| mutation.op.bytes())
}
