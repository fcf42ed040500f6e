//! Pages of what is shown, for callers that hold them in memory: they end by rows and by bytes, and no more is read than
//! is asked for, but for what is hidden in between.
//!
//! - `a_page_reads_no_more_rows_than_it_was_asked_for`.
//! - `pages_that_end_by_bytes_go_on_where_they_ended`, each with one element at least.
//! - `what_is_hidden_makes_no_page_end_early`.

use std::collections::BTreeMap;

use semantics::ids::Key;
use serde_json::Value;

use super::Replica;
use super::entry::Entry;
use super::read::{Item, matches};
use super::store::{ConfirmedRow, Range, ReplicaTxn};
use crate::error::{ReplicaError, StoreError};

/// Most rows of one table that are read at once for a page: 16 MiB of the largest bodies.
pub const ROWS_AT_ONCE: usize = 64;

/// How long a page may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Elements, at least 1.
    pub rows: usize,
    /// Bytes of their bodies; one element is always given.
    pub bytes: usize,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// Its elements, in order.
    pub items: Vec<T>,
    /// Whether nothing comes after it. Else go on after its last element.
    pub is_last: bool,
}

/// A page that is put together.
struct Filling<T> {
    items: Vec<T>,
    bytes: usize,
    bounds: Bounds,
}

impl<T> Filling<T> {
    fn new(bounds: Bounds) -> Self {
        Self { items: Vec::new(), bytes: 0, bounds }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.bounds.rows
    }

    /// Takes an element in. False: there is no room for it.
    fn take(&mut self, item: T, bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(bytes);
        if self.is_full() || (!self.items.is_empty() && bytes > self.bounds.bytes) {
            return false;
        }
        self.bytes = bytes;
        self.items.push(item);
        true
    }

    /// How many rows to read next: what is missing, or where little is shown of what is read, as many as there may be.
    fn next_rows(&self, is_sparse: bool) -> usize {
        let missing = self.bounds.rows.saturating_sub(self.items.len());
        if is_sparse { ROWS_AT_ONCE } else { missing.clamp(1, ROWS_AT_ONCE) }
    }

    fn part(self, is_last: bool) -> Part<T> {
        Part { items: self.items, is_last }
    }
}

impl Replica {
    /// Live records of a range in key order, those alone whose top-level field equals a value, if one is given.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn records_part(
        &self,
        range: &Range,
        equals: Option<(&str, &Value)>,
        bounds: Bounds,
    ) -> Result<Part<Item>, ReplicaError> {
        let mut txn = self.read().await?;
        let mut range = range.clone();
        let mut filling = Filling::new(bounds);
        let mut is_sparse = equals.is_some();
        while !filling.is_full() {
            let (items, end) = both_layers(&mut *txn, &range, filling.next_rows(is_sparse)).await?;
            let before = filling.items.len();
            for item in items.into_iter().filter(|item| matches(item, equals)) {
                let bytes = item.record.body().map_or(0, <[u8]>::len);
                if !filling.take(item, bytes) {
                    return Ok(filling.part(false));
                }
            }
            is_sparse = equals.is_some() || filling.items.len() == before;
            if end.is_none() {
                return Ok(filling.part(true));
            }
            range.after = end;
        }
        Ok(filling.part(false))
    }

    /// Outbox entries in queue order after a place.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn outbox_part(
        &self,
        after_order: Option<u64>,
        bounds: Bounds,
    ) -> Result<Part<Entry>, ReplicaError> {
        let mut txn = self.read().await?;
        let mut filling: Filling<Entry> = Filling::new(bounds);
        while !filling.is_full() {
            let rows = filling.next_rows(false);
            let after = filling.items.last().map(|entry| entry.order).or(after_order);
            let entries = txn.outbox_page(after, rows).await?;
            let is_end = entries.len() < rows;
            for entry in entries {
                let bytes = usize::try_from(entry.bytes()).unwrap_or(usize::MAX);
                if !filling.take(entry, bytes) {
                    return Ok(filling.part(false));
                }
            }
            if is_end {
                return Ok(filling.part(true));
            }
        }
        Ok(filling.part(false))
    }

    /// What [`Replica::remnants`] gives.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn remnants_part(
        &self,
        after: Option<&Key>,
        bounds: Bounds,
    ) -> Result<Part<ConfirmedRow>, ReplicaError> {
        let mut txn = self.read().await?;
        let mut filling: Filling<ConfirmedRow> = Filling::new(bounds);
        while !filling.is_full() {
            let rows = filling.next_rows(false);
            let after = filling.items.last().map(|row| row.record.key.clone()).or_else(|| after.cloned());
            let found = txn.remnants_page(after.as_ref(), rows).await?;
            let is_end = found.len() < rows;
            for row in found {
                let bytes = row.record.body().map_or(0, <[u8]>::len);
                if !filling.take(row, bytes) {
                    return Ok(filling.part(false));
                }
            }
            if is_end {
                return Ok(filling.part(true));
            }
        }
        Ok(filling.part(false))
    }
}

/// What both layers show of a range, from so many rows of each, tombstones included; and the key after which to go on,
/// if either has more.
async fn both_layers(
    txn: &mut dyn ReplicaTxn,
    range: &Range,
    rows: usize,
) -> Result<(Vec<Item>, Option<Key>), StoreError> {
    let confirmed = txn.confirmed_page(range, rows).await?;
    confirmed.iter().try_for_each(ConfirmedRow::check)?;
    let pending = txn.pending_page(range, rows).await?;
    // Beyond the end of a full page the other table may still have to speak.
    let ends = [
        (confirmed.len() == rows).then(|| confirmed.last().map(|row| row.record.key.clone())),
        (pending.len() == rows).then(|| pending.last().map(|record| record.key.clone())),
    ];
    let end = ends.into_iter().flatten().flatten().min();
    let mut merged: BTreeMap<Key, Item> = confirmed
        .into_iter()
        .map(|row| (row.record.key.clone(), (row.revision, row.record)))
        .map(|(key, (revision, record))| (key, Item { record, revision, is_pending: false }))
        .collect();
    for record in pending {
        let revision = merged.get(&record.key).map_or(semantics::ids::Revision::ZERO, |item| item.revision);
        merged.insert(record.key.clone(), Item { record, revision, is_pending: true });
    }
    merged.retain(|key, _| end.as_ref().is_none_or(|end| key <= end));
    Ok((merged.into_values().collect(), end))
}
