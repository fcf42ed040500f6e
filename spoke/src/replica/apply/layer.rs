//! The confirmed layer under a cut: rows and, beside them, the digest state of each cell.

use std::collections::{BTreeMap, BTreeSet};

use semantics::envelope::{Cell, Record};
use semantics::fault::Fault;
use semantics::ids::{Digest, Key};
use semantics::lthash::{LtHash, Moves};
use semantics::view::View;

use crate::error::StoreError;
use crate::replica::store::{ConfirmedRow, ReplicaTxn, Staged};
use crate::sync::Counts;

/// Digest states are held in memory for the length of a cut: two KiB for each cell of the view.
#[derive(Default)]
pub(super) struct Layer {
    cells: BTreeMap<Cell, LtHash>,
    /// What has yet to be summed up.
    moves: BTreeMap<Cell, Moves>,
    changed: BTreeSet<Cell>,
    is_anew: bool,
    /// Where the replica starts anew: what lies outside of it is not counted in.
    view: Option<View>,
    counts: Counts,
}

impl Layer {
    /// The layer as it stands.
    pub(super) async fn open(txn: &mut dyn ReplicaTxn) -> Result<Self, StoreError> {
        let mut cells = BTreeMap::new();
        for (cell, state) in txn.cells().await? {
            let state = LtHash::from_bytes(&state)
                .map_err(|e| StoreError::Corrupt { what: "cell digest", detail: e.to_string() })?;
            cells.insert(cell, state);
        }
        Ok(Self { cells, ..Self::default() })
    }

    /// The replica starts anew, under a view: what the layer holds will be replaced by what is staged.
    pub(super) async fn anew(txn: &mut dyn ReplicaTxn, view: Option<View>) -> Result<Self, StoreError> {
        // Everything that was shown may be gone; what is given up is not read, be it damaged or not.
        txn.all_changed().await?;
        txn.cells_clear().await?;
        Ok(Self { is_anew: true, view, ..Self::default() })
    }

    /// Whether the replica starts anew.
    pub(super) fn is_anew(&self) -> bool {
        self.is_anew
    }

    /// Counts in rows of which the layer now consists. Which stay, and which lie outside of the view and have to go.
    pub(super) fn adopt(&mut self, rows: Vec<ConfirmedRow>) -> Result<(Vec<Key>, Vec<Key>), StoreError> {
        let (mut come, mut out) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            row.check()?;
            if self.view.as_ref().is_some_and(|view| !is_kept(view, &row.record)) {
                out.push(row.record.key);
                continue;
            }
            self.counts.note(false, !row.record.is_deleted());
            self.comes(&row);
            come.push(row.record.key);
        }
        self.sum_up();
        Ok((come, out))
    }

    /// Takes staged items in: of what is held and what comes the highest revision stays. Which records changed.
    pub(super) async fn take(
        &mut self,
        txn: &mut dyn ReplicaTxn,
        items: &[Staged],
    ) -> Result<Vec<Key>, StoreError> {
        let keys: Vec<Key> = items.iter().map(|item| item.key().clone()).collect();
        let held = txn.confirmed_get(&keys).await?;
        let mut put = Vec::new();
        let mut delete = Vec::new();
        for item in items {
            let row = held.get(item.key());
            if row.is_some_and(|row| row.revision >= item.rank().0) {
                continue;
            }
            if let Some(row) = row {
                self.leaves(row);
            }
            let was_live = row.is_some_and(|row| !row.record.is_deleted());
            match item {
                Staged::Change(change) => {
                    self.counts.note(was_live, !change.record.is_deleted());
                    let row = ConfirmedRow::of(change);
                    self.comes(&row);
                    put.push(row);
                }
                Staged::Departure(departure) if row.is_some() => {
                    self.counts.note(was_live, false);
                    delete.push(departure.key.clone());
                }
                Staged::Departure(_) => {}
            }
        }
        self.sum_up();
        txn.confirmed_put(&put).await?;
        txn.confirmed_delete(&delete).await?;
        Ok(put.into_iter().map(|row| row.record.key).chain(delete).collect())
    }

    /// What was done to the records so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Rows that go because they can no longer be seen.
    pub(super) fn drops(&mut self, rows: &[ConfirmedRow]) {
        for row in rows {
            self.counts.note(!row.record.is_deleted(), false);
            self.leaves(row);
        }
        self.sum_up();
    }

    /// A row that is about to go: its cell's digest no longer counts it.
    fn leaves(&mut self, row: &ConfirmedRow) {
        if !row.record.is_deleted() {
            self.moves.entry(row.record.cell()).or_default().leave.push(row.digest);
        }
    }

    fn comes(&mut self, row: &ConfirmedRow) {
        if !row.record.is_deleted() {
            self.moves.entry(row.record.cell()).or_default().come.push(row.digest);
        }
    }

    fn sum_up(&mut self) {
        for (cell, moves) in std::mem::take(&mut self.moves) {
            self.cells.entry(cell.clone()).or_default().apply(&moves);
            self.changed.insert(cell);
        }
    }

    /// Writes the digest states that changed.
    pub(super) async fn save(&mut self, txn: &mut dyn ReplicaTxn) -> Result<(), StoreError> {
        for cell in std::mem::take(&mut self.changed) {
            let state = self.cells.get(&cell).filter(|state| !state.is_empty());
            txn.cell_put(&cell, state.map(|state| state.as_bytes().as_slice())).await?;
        }
        Ok(())
    }

    /// The digest of all live records.
    pub(super) fn digest(&self) -> Digest {
        let mut sum = LtHash::empty();
        for state in self.cells.values() {
            sum.combine(state);
        }
        sum.finish()
    }
}

/// Whether a row stays under a view. A tombstone has no facet any more: it stays where any facet of its kind would.
pub(super) fn is_kept(view: &View, record: &Record) -> bool {
    let cell = record.cell();
    Fault::ShrunkViewKept.is_planted()
        || view.contains(&cell)
        || record.is_deleted()
            && view.cells.iter().any(|selector| {
                selector.domain == cell.domain && selector.kind.as_ref().is_none_or(|kind| *kind == cell.kind)
            })
}
