//! The hub as it lies there, for a diagnosis: pages of what is stored, looked at anew. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};

use semantics::commit::{Head, Link, LinkFault};
use semantics::compare::Scope;
use semantics::digest::record_digest;
use semantics::envelope::Cell;
use semantics::ids::{CommitNumber, Key, Revision, TenantId};
use semantics::lthash::LtHash;

use super::Hub;
use super::error::HubError;
use crate::store::{CommitRow, Current, LogQuery, PointerQuery};

/// Most commits or records that one page looks at.
pub const EXAMINED_MAX: usize = 1_000;
/// Most commits read at once: each brings the outcomes of all its mutations.
const COMMITS_READ_MAX: usize = 32;
/// Weight at which a page of records ends, bytes; one record may pass it.
const EXAMINED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most scopes in one page of records: their sums must fit into one message.
pub const SUMS_MAX: usize = 256;

/// A log and what holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// Where it stands.
    pub head: Head,
    /// Catch-ups that hold the horizon.
    pub leases: usize,
    /// The lowest revision that they hold.
    pub lowest_lease: Option<Revision>,
    /// Up to where a backup holds it.
    pub backed_up: Option<Revision>,
    /// Whether it takes back what it lost when it went on from a backup.
    pub recovering: bool,
}

/// What a page of commits came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// The commits whose links were checked, first and last.
    pub checked: Option<(CommitNumber, CommitNumber)>,
    /// What is wrong with them, in order.
    pub faults: Vec<(CommitNumber, LinkFault)>,
    /// After which commit the next page begins; `None` = the head was reached, and compared.
    pub next: Option<CommitNumber>,
}

/// Records of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summed {
    /// Live ones.
    pub live: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Sum of the live ones.
    pub sum: LtHash,
}

/// A page of records, summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// The head when it was read.
    pub revision: Revision,
    /// By cell.
    pub cells: BTreeMap<Cell, Summed>,
    /// Records whose content is not what their digest says.
    pub damaged: Vec<Key>,
    /// After which record the next page begins; `None` = there are no more.
    pub next: Option<Key>,
}

impl Hub {
    /// Where a log stands and what holds it. Leases that have ended are forgotten on the way.
    ///
    /// # Errors
    /// Store errors.
    pub async fn examine_log(&self, tenant: &TenantId) -> Result<LogState, HubError> {
        let leases = self.leases(tenant, self.clock().now_ms()).await?;
        let marks = self.marks(tenant).await?;
        Ok(LogState {
            head: self.store().head(tenant).await?,
            leases: leases.len(),
            lowest_lease: leases.into_iter().min(),
            backed_up: marks.backed_up.map(|backed_up| backed_up.revision),
            recovering: marks.recovering().is_some(),
        })
    }

    /// Whether the commits after one follow from each other, at most `max` of them. The oldest commit that is kept is
    /// taken as it is, unless it is the first of all.
    ///
    /// # Errors
    /// Store errors.
    pub async fn examine_chain(
        &self,
        tenant: &TenantId,
        after: CommitNumber,
        max: usize,
    ) -> Result<Chain, HubError> {
        let head = self.store().head(tenant).await?;
        let max = max.clamp(1, EXAMINED_MAX);
        // The commit before the page is read again: the first link starts there.
        let mut at = CommitNumber(after.0.saturating_sub(1));
        let (mut left, mut looked) = (max.saturating_add(1), 0);
        let mut chain = Chain::default();
        let mut before = (after == CommitNumber::ZERO).then(Link::origin);
        while left > 0 {
            let rows = self.store().commits_after(tenant, at, left.min(COMMITS_READ_MAX)).await?;
            let Some(last) = rows.last() else { break };
            (at, left) = (last.number, left.saturating_sub(rows.len()));
            for link in rows.iter().filter(|row| row.number <= head.commit).map(link) {
                looked += 1;
                chain.look(link, before);
                before = Some(link);
            }
        }
        let last = before.unwrap_or_else(Link::origin);
        if last.number >= head.commit || looked <= max {
            chain.faults.extend(last.is_head(&head).err().map(|fault| (head.commit, fault)));
        } else {
            chain.next = Some(last.number);
        }
        Ok(chain)
    }

    /// The sums of a page of records after a key, control records and conflicts included, made from their content.
    ///
    /// # Errors
    /// Store errors.
    pub async fn examine_records(
        &self,
        tenant: &TenantId,
        after: Option<Key>,
        max: usize,
    ) -> Result<Sums, HubError> {
        let query = PointerQuery {
            after,
            rows_max: max.clamp(1, EXAMINED_MAX),
            bytes_max: EXAMINED_BYTES_MAX,
            ..PointerQuery::default()
        };
        let page = self.store().pointer_page(tenant, &query).await?;
        let mut sums =
            Sums { revision: page.head.revision, cells: BTreeMap::new(), damaged: Vec::new(), next: None };
        let mut is_whole = page.is_last;
        let mut last = None;
        for current in &page.rows {
            let is_known = sums.cells.contains_key(&current.pointer.cell);
            if !is_known && sums.cells.len() >= SUMS_MAX {
                is_whole = false;
                break;
            }
            sums.take(current);
            last = Some(current.pointer.key.clone());
        }
        sums.next = last.filter(|_| !is_whole);
        Ok(sums)
    }

    /// The sums that the hub keeps, those of empty cells left out; `None` when there are too many to be read at once.
    ///
    /// # Errors
    /// Store errors.
    pub async fn kept_sums(&self, tenant: &TenantId) -> Result<Option<(Revision, Vec<Scope>)>, HubError> {
        let query = LogQuery {
            after: self.store().head(tenant).await?.revision,
            rows_max: EXAMINED_MAX,
            bytes_max: EXAMINED_BYTES_MAX,
            keys: BTreeSet::new(),
            with_cells: true,
        };
        let page = self.store().log_page(tenant, &query).await?;
        if !page.has_cells {
            return Ok(None);
        }
        let cells = page.cells.into_iter().filter(|row| !row.hash.is_empty());
        let scopes = cells.map(|row| Scope { digest: row.hash.finish(), cell: row.cell }).collect();
        Ok(Some((page.head.revision, scopes)))
    }
}

impl Chain {
    /// Takes in a commit behind the one before it.
    fn look(&mut self, link: Link, before: Option<Link>) {
        let Some(before) = before else { return };
        // What is pruned below the oldest commit that is kept is no gap.
        if before == Link::origin() && link.number.0 > 1 {
            return;
        }
        self.faults.extend(link.follows(&before).err().map(|fault| (link.number, fault)));
        let first = self.checked.map_or(link.number, |(first, _)| first);
        self.checked = Some((first, link.number));
    }
}

impl Sums {
    fn take(&mut self, current: &Current) {
        let pointer = &current.pointer;
        let summed = self.cells.entry(pointer.cell.clone()).or_default();
        let digest = record_digest(&current.record);
        if digest != pointer.digest {
            self.damaged.push(pointer.key.clone());
        }
        if pointer.deleted {
            summed.tombstones += 1;
        } else {
            summed.live += 1;
            summed.sum.add(&digest);
        }
    }
}

fn link(row: &CommitRow) -> Link {
    Link { number: row.number, first: row.first, last: row.last, leaf: row.leaf, chain: row.chain }
}
