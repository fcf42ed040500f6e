//! What a replica compares itself with: the scopes of its node's view, and ranges of their records.

use semantics::compare::{Named, RANGE_RECORDS_MAX, RangeAsk, RangeSum, Scope, Scopes, sum};
use semantics::digest::record_digest;
use semantics::ids::{Digest, Key};
use semantics::reason::Reason;
use semantics::view::View;
use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::{Hub, Principal};
use crate::store::{Current, PointerQuery};

/// Where a range begins: what the answer before gave, sealed for its node.
#[derive(Debug, Serialize, Deserialize)]
struct After {
    compare_after: Key,
}

impl Hub {
    /// Every scope of the node's view as of the head.
    ///
    /// # Errors
    /// NODE_REVOKED; TOO_LARGE past [`super::query::PAGE_CELLS_MAX`] cells; OVERLOADED when the log does not stand
    /// still for long enough; store errors.
    pub async fn compare_scopes(&self, who: &Principal) -> Result<Scopes, HubError> {
        self.active_node(who).await?;
        let (head, view, cells) = self.cells_of(&who.tenant, who.node).await?;
        let cells = cells.into_iter().filter(|row| view.contains(&row.cell) && !row.hash.is_empty());
        let scopes = cells.map(|row| Scope { digest: row.hash.finish(), cell: row.cell });
        let mut scopes: Vec<Scope> = scopes.collect();
        scopes.sort_by(|a, b| a.cell.cmp(&b.cell));
        Ok(Scopes { revision: head.revision, scopes })
    }

    /// The sum of a range of the view's live records: at most [`RANGE_RECORDS_MAX`] rows are read for it. Nothing is
    /// said of records outside of the view.
    ///
    /// # Errors
    /// NODE_REVOKED; BAD_TOKEN; store errors.
    pub async fn compare_range(&self, who: &Principal, ask: &RangeAsk) -> Result<RangeSum, HubError> {
        self.active_node(who).await?;
        let after = match ask.from.as_slice() {
            [] => None,
            from => Some(self.after(who, from).await?),
        };
        let view = self.view_of(who).await?;
        let query = PointerQuery {
            after,
            kind: ask.cell.as_ref().map(|cell| cell.kind.clone()),
            rows_max: self.parts().paging.rows_max.min(RANGE_RECORDS_MAX),
            bytes_max: self.page_bytes(),
            ..PointerQuery::default()
        };
        let read = self.store().pointer_page(&who.tenant, &query).await?;
        let next = match read.rows.last() {
            Some(last) if !read.is_last => {
                let after = After { compare_after: last.pointer.key.clone() };
                let after = serde_json::to_vec(&after).map_err(|e| HubError::internal(e.to_string()))?;
                Some(self.seal(who, &after).await?)
            }
            _ => None,
        };
        let named: Vec<Named> =
            read.rows.iter().filter(|row| is_asked_for(row, &view, ask)).map(named).collect();
        let digests: Vec<Digest> = named.iter().map(|named| named.digest).collect();
        Ok(RangeSum {
            revision: read.head.revision,
            last: named.last().map(|named| named.key.clone()),
            next,
            records: u64::try_from(named.len()).unwrap_or(u64::MAX),
            digest: sum(&digests),
            named: if ask.with_records { named } else { Vec::new() },
        })
    }

    async fn after(&self, who: &Principal, from: &[u8]) -> Result<Key, HubError> {
        let after: Option<After> = serde_json::from_slice(self.unseal(who, from).await?).ok();
        let after = after.ok_or_else(|| HubError::new(Reason::BadToken, "no place where a range begins"))?;
        Ok(after.compare_after)
    }
}

fn is_asked_for(current: &Current, view: &View, ask: &RangeAsk) -> bool {
    let pointer = &current.pointer;
    let is_in_cell = ask.cell.as_ref().is_none_or(|cell| *cell == pointer.cell);
    !pointer.deleted && is_in_cell && view.contains(&pointer.cell)
}

fn named(current: &Current) -> Named {
    let (key, revision) = (current.pointer.key.clone(), current.pointer.revision);
    Named { key, revision, digest: record_digest(&current.record) }
}
