//! Replays a log from its rows and compares with what the store says of it.

use std::collections::{BTreeMap, BTreeSet};

use gateway::store::{CommitRow, LogRow, Store};
use semantics::commit::Head;
use semantics::digest::{self, CommitSummary};
use semantics::envelope::Cell;
use semantics::ids::{Digest, Key, Revision, TenantId, Writer};
use semantics::lthash::LtHash;

use super::rows::{all_records, everything};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stands {
    cell: Cell,
    revision: Revision,
    deleted: bool,
    digest: Digest,
}

/// What the log comes to, as far as it has been replayed.
#[derive(Debug, Default)]
pub struct Audit {
    head: Option<Head>,
    records: BTreeMap<Key, Stands>,
    cells: BTreeMap<Cell, LtHash>,
    last_n: BTreeMap<Writer, u64>,
    time_ms: u64,
}

impl Audit {
    /// Replays what is new and compares everything. Comes before the rows are pruned.
    pub async fn check(&mut self, store: &dyn Store, tenant: &TenantId) {
        let head = store.head(tenant).await.unwrap();
        let from = self.head.unwrap_or(Head::empty(head.log_id));
        let commits = store.commits_after(tenant, from.commit, 1_000_000).await.unwrap();
        let page = store.log_page(tenant, &everything(from.revision)).await.unwrap();
        let rows: BTreeMap<Revision, LogRow> =
            page.entries.into_iter().map(|entry| (entry.row.revision, entry.row)).collect();
        let mut at = from;
        for commit in &commits {
            self.replay(&mut at, commit, &rows, head.horizon);
        }
        assert_eq!((at.commit, at.revision, at.chain), (head.commit, head.revision, head.chain));
        assert_eq!(self.time_ms, head.time_ms);
        self.head = Some(head);
        let stored: BTreeMap<Cell, LtHash> = page.cells.into_iter().map(|row| (row.cell, row.hash)).collect();
        let live = |cells: &BTreeMap<Cell, LtHash>| {
            cells.iter().filter(|(_, hash)| !hash.is_empty()).map(|(c, h)| (c.clone(), h.clone())).collect()
        };
        let (stored, replayed): (BTreeMap<_, _>, BTreeMap<_, _>) = (live(&stored), live(&self.cells));
        assert_eq!(stored, replayed, "cells");
        self.compare_records(store, tenant, head.horizon, &replayed).await;
    }

    fn replay(
        &mut self,
        at: &mut Head,
        commit: &CommitRow,
        rows: &BTreeMap<Revision, LogRow>,
        horizon: Revision,
    ) {
        assert_eq!(commit.number, at.commit.next(), "commits are dense");
        assert_eq!(commit.first, at.revision.next(), "revisions are dense");
        assert!(commit.time_ms >= self.time_ms, "time never goes back");
        let mine: Vec<&LogRow> = rows
            .range(commit.first..)
            .map(|(_, row)| row)
            .take_while(|row| row.revision <= commit.last)
            .collect();
        assert_eq!(commit.last.0 + 1 - commit.first.0, u64::try_from(mine.len()).unwrap());
        let mut touched = BTreeSet::new();
        for row in &mine {
            assert_eq!(row.commit, commit.number);
            self.step(row, horizon, &mut touched);
        }
        for answer in &commit.outcomes {
            let last = self.last_n.entry(answer.dot.writer).or_default();
            assert_eq!(answer.dot.n, *last + 1, "each dot is consumed once, in order: {}", answer.dot);
            *last = answer.dot.n;
            if let Some(revision) = answer.outcome.revision() {
                assert_eq!(rows[&revision].dot, answer.dot);
                let mutation = rows[&revision].mutation.as_ref().unwrap();
                assert_eq!(digest::mutation_digest(mutation), answer.digest);
            }
        }
        let cells: Vec<Digest> =
            touched.iter().map(|cell| digest::cell_digest(cell, &self.cells[cell])).collect();
        let leaf = digest::commit_leaf(&CommitSummary {
            commit: commit.number,
            first: commit.first,
            last: commit.last,
            time_ms: commit.time_ms,
            horizon: commit.horizon,
            mutations_root: digest::merkle_root(
                &commit.outcomes.iter().map(|o| o.digest).collect::<Vec<_>>(),
            ),
            records_root: digest::merkle_root(
                &mine.iter().map(|row| digest::record_digest(&row.record)).collect::<Vec<_>>(),
            ),
            cells_root: digest::merkle_root(&cells),
        });
        assert_eq!(leaf, commit.leaf, "leaf of {commit:?}");
        assert!(commit.horizon >= at.horizon && commit.horizon <= horizon, "the horizon only rises");
        assert_eq!(digest::chain(&at.chain, &commit.leaf), commit.chain, "chain");
        *at = Head {
            commit: commit.number,
            revision: commit.last,
            chain: commit.chain,
            horizon: commit.horizon,
            ..*at
        };
        self.time_ms = commit.time_ms;
    }

    fn step(&mut self, row: &LogRow, horizon: Revision, touched: &mut BTreeSet<Cell>) {
        let key = &row.record.key;
        // A tombstone that was given up is absent, pruned or not.
        let is_given_up =
            |old: &Stands| old.deleted && old.revision <= horizon && row.previous == Revision::ZERO;
        let old = self.records.get(key).filter(|old| !is_given_up(old)).cloned();
        assert_eq!(old.as_ref().map_or(Revision::ZERO, |old| old.revision), row.previous, "before {key}");
        let moved = old.as_ref().filter(|old| old.cell != row.cell).map(|old| &old.cell);
        assert_eq!(moved, row.departed.as_ref().map(|departed| &departed.cell), "departure of {key}");
        let record_digest = digest::record_digest(&row.record);
        if let Some(old) = old.filter(|old| !old.deleted) {
            self.cells.entry(old.cell.clone()).or_default().remove(&old.digest);
            touched.insert(old.cell);
        }
        let deleted = row.record.is_deleted();
        if !deleted {
            assert_eq!(row.record.cell(), row.cell);
            self.cells.entry(row.cell.clone()).or_default().add(&record_digest);
            touched.insert(row.cell.clone());
        }
        let stands =
            Stands { cell: row.cell.clone(), revision: row.revision, deleted, digest: record_digest };
        self.records.insert(key.clone(), stands);
    }

    async fn compare_records(
        &mut self,
        store: &dyn Store,
        tenant: &TenantId,
        horizon: Revision,
        cells: &BTreeMap<Cell, LtHash>,
    ) {
        let page = store.pointer_page(tenant, &all_records()).await.unwrap();
        let mut sums: BTreeMap<Cell, LtHash> = BTreeMap::new();
        let mut found = BTreeMap::new();
        for current in page.rows {
            let pointer = current.pointer;
            assert_eq!(digest::record_digest(&current.record), pointer.digest);
            assert_eq!(current.record.is_deleted(), pointer.deleted);
            if !pointer.deleted {
                sums.entry(pointer.cell.clone()).or_default().add(&pointer.digest);
            }
            let (cell, revision) = (pointer.cell, pointer.revision);
            let stands = Stands { cell, revision, deleted: pointer.deleted, digest: pointer.digest };
            found.insert(pointer.key, stands);
        }
        assert_eq!(&sums, cells, "live records sum up to the cells");
        self.records
            .retain(|key, stands| found.contains_key(key) || !stands.deleted || stands.revision > horizon);
        assert_eq!(found, self.records);
    }
}
