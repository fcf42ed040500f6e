//! A look at the confirmed layer as it lies there: every scope's sum made from content, beside the sums that were
//! kept while it came.

use std::collections::BTreeMap;

use semantics::compare::{Named, Scope};
use semantics::digest::record_digest;
use semantics::envelope::Cell;
use semantics::ids::{Key, Revision};
use semantics::lthash::LtHash;

use super::pages::ROWS_AT_ONCE;
use super::store::Range;
use super::{Replica, state};
use crate::error::{ReplicaError, StoreError};

/// Most damaged records that are named.
pub const DAMAGED_MAX: usize = 100;
/// Most records that are read to stand against one range of the hub.
const OPPOSITE_MAX: usize = 10_000;

/// The confirmed layer as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Where it stands.
    pub revision: Revision,
    /// Its scopes with a live record, in order.
    pub scopes: Vec<Scope>,
    /// Live records of each scope, in the same order.
    pub records: Vec<u64>,
    /// Tombstones.
    pub tombstones: u64,
    /// Records whose content is not what came, at most [`DAMAGED_MAX`].
    pub damaged: Vec<Key>,
    /// Scopes whose kept sum is not that of their records.
    pub stale: Vec<Cell>,
    /// What is wrong with the store itself, in sentences.
    pub store: Vec<String>,
    /// How far the hub's clock is ahead of the one here, milliseconds, as last told.
    pub hub_ahead_ms: i64,
}

impl Examined {
    /// The first thing that is damaged here, in a sentence.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        let of_file = self.store.first().cloned();
        let of_record = || self.damaged.first().map(|key| format!("{key} is not what came from the hub"));
        let sum =
            |cell: &Cell| format!("the sum of {}/{} is not that of its records", cell.domain, cell.kind);
        of_file.or_else(of_record).or_else(|| self.stale.first().map(sum))
    }
}

#[derive(Default)]
struct Sum {
    content: LtHash,
    records: u64,
}

impl Replica {
    /// Has the store checked; then reads every confirmed record and makes the sums anew, all at one instant.
    ///
    /// # Errors
    /// [`ReplicaError::Store`], where what is damaged cannot even be read.
    pub async fn examine(&self) -> Result<Examined, ReplicaError> {
        let store = match self.store.check().await {
            Err(error @ StoreError::Corrupt { .. }) => vec![error.to_string()],
            checked => checked?,
        };
        let mut txn = self.read().await?;
        let revision = state::cursor(&mut *txn).await?.map_or(Revision::ZERO, |cursor| cursor.revision);
        let hub_ahead_ms = state::clock(&mut *txn).await?.hub_ahead_ms;
        let kept = txn.cells().await?;
        let mut sums: BTreeMap<Cell, Sum> = BTreeMap::new();
        let (mut tombstones, mut damaged, mut range) = (0, Vec::new(), Range::default());
        loop {
            let rows = txn.confirmed_page(&range, ROWS_AT_ONCE).await?;
            let Some(last) = rows.last() else { break };
            range.after = Some(last.record.key.clone());
            for row in &rows {
                let digest = record_digest(&row.record);
                if digest != row.digest && damaged.len() < DAMAGED_MAX {
                    damaged.push(row.record.key.clone());
                }
                if row.record.is_deleted() {
                    tombstones += 1;
                    continue;
                }
                let sum = sums.entry(row.record.cell()).or_default();
                sum.content.add(&digest);
                sum.records += 1;
            }
        }
        let of = |cell: &Cell| sums.get(cell).map(|sum| sum.content.as_bytes().as_slice());
        let mut stale: Vec<Cell> = kept
            .iter()
            .filter(|(cell, state)| of(cell) != Some(state.as_slice()))
            .map(|(cell, _)| cell.clone())
            .collect();
        stale.extend(sums.keys().filter(|cell| !kept.contains_key(cell)).cloned());
        let records = sums.values().map(|sum| sum.records).collect();
        let scopes =
            sums.into_iter().map(|(cell, sum)| Scope { cell, digest: sum.content.finish() }).collect();
        Ok(Examined { revision, scopes, records, tombstones, damaged, stale, store, hub_ahead_ms })
    }

    /// Live confirmed records of a scope (`None` = of all) after a key and up to another (`None` = to the end), and whether these are
    /// all: at most [`OPPOSITE_MAX`] rows are read.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn named(
        &self,
        cell: Option<&Cell>,
        after: Option<Key>,
        up_to: Option<&Key>,
    ) -> Result<(Vec<Named>, bool), ReplicaError> {
        let mut txn = self.read().await?;
        let kind = cell.map(|cell| cell.kind.clone());
        let mut range = Range { kind, prefix: String::new(), after };
        let (mut named, mut read) = (Vec::new(), 0);
        loop {
            let rows = txn.confirmed_page(&range, ROWS_AT_ONCE).await?;
            let Some(last) = rows.last() else { return Ok((named, true)) };
            range.after = Some(last.record.key.clone());
            read += rows.len();
            for row in rows {
                if up_to.is_some_and(|up_to| row.record.key > *up_to) {
                    return Ok((named, true));
                }
                let is_asked_for = cell.is_none_or(|cell| row.record.cell() == *cell);
                if !row.record.is_deleted() && is_asked_for {
                    let digest = record_digest(&row.record);
                    named.push(Named { key: row.record.key, revision: row.revision, digest });
                }
            }
            if read >= OPPOSITE_MAX {
                return Ok((named, false));
            }
        }
    }
}
