//! Taking the hub's changes in: staging, cuts, and starting anew.

mod layer;

use std::collections::{BTreeMap, BTreeSet};

use semantics::cursor::{Change, Cut, Departure, Page};
use semantics::fault::Fault;
use semantics::ids::{Key, Kind, MutationId, Revision};
use semantics::kind;
use semantics::reason::{Reason, Refusal};

use self::layer::Layer;
use super::entry::Entry;
use super::kinds::Kinds;
use super::pending::{Surroundings, rematerialise};
use super::store::{MetaKey, ROWS_MAX, Range, ReplicaTxn, Staged};
use super::work::Work;
use super::{Replica, state};
use crate::error::{ReplicaError, StoreError};
use crate::sync::{Applied, Counts, page_bytes};

impl Replica {
    /// Keeps what came, unseen, until a cut; and where the catch-up goes on.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn stage(
        &self,
        changes: Vec<Change>,
        departures: Vec<Departure>,
        resume: &[u8],
    ) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        stage_items(&mut *txn, &staged(changes, departures)).await?;
        txn.meta_put(MetaKey::Resume, Some(resume)).await?;
        Ok(txn.commit().await?)
    }

    /// Shows what was staged and what the page brings, all at once, and advances the cursor. A page whose cut lies
    /// behind the cursor came late and changes nothing. The inner error stops the replica: the cut belongs to
    /// another log.
    ///
    /// # Errors
    /// [`ReplicaError::Staged`] where what was staged is damaged: nothing has changed, and once it is forgotten the hub
    /// sends it again (`what_was_staged_and_is_damaged_is_fetched_anew`). [`ReplicaError::Store`].
    pub async fn apply_cut(&self, page: Page, cut: &Cut) -> Result<Result<Applied, Refusal>, ReplicaError> {
        let bytes = page_bytes(&page);
        let mut txn = self.write_txn().await?;
        let held = state::cursor(&mut *txn).await?;
        let answered_n = state::stream(&mut *txn).await?.answered_n;
        if let Some(held) = held {
            if held.log_id != cut.cursor.log_id {
                let refusal =
                    Refusal::new(Reason::LogForked, "a cut of another log than the replica stands on");
                drop(txn);
                self.halt(&refusal).await?;
                return Ok(Err(refusal));
            }
            if cut.cursor.commit < held.commit {
                return Ok(Ok(Applied {
                    cursor: held,
                    answered_n,
                    bytes,
                    digest_matches: None,
                    digest: None,
                    counts: Counts::default(),
                }));
            }
        }
        if Fault::CursorBeforeApply.is_planted() {
            state::save(&mut *txn, MetaKey::Cursor, &cut.cursor).await?;
            txn.commit().await?;
            txn = self.write_txn().await?;
        }
        let mut taken = Taken::default();
        let mut layer = match held {
            Some(_) => Layer::open(&mut *txn).await?,
            None => Layer::anew(&mut *txn, cut.view.clone()).await?,
        };
        take_items(&mut *txn, &mut layer, &mut taken, page).await?;
        take_view(&mut *txn, &mut layer, &mut taken, cut).await?;
        layer.save(&mut *txn).await?;
        state::save(&mut *txn, MetaKey::Cursor, &cut.cursor).await?;
        txn.meta_put(MetaKey::Resume, None).await?;
        let finished = self.settle_confirmed(&mut *txn, taken, cut.cursor.revision).await?;
        let digest = cut.digest.map(|_| layer.digest());
        let digest_matches = cut.digest.map(|theirs| Some(theirs) == digest);
        if digest_matches == Some(false) {
            let mut condition = state::condition(&mut *txn).await?;
            condition.digest_mismatches += 1;
            state::save(&mut *txn, MetaKey::Condition, &condition).await?;
        }
        let counts = layer.counts();
        self.note_places(Some(&cut.cursor), finished);
        txn.commit().await?;
        Ok(Ok(Applied { cursor: cut.cursor, answered_n, bytes, digest_matches, digest, counts }))
    }

    /// Forgets an unfinished catch-up.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn forget_resume(&self) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        txn.staging_clear().await?;
        txn.meta_put(MetaKey::Resume, None).await?;
        Ok(txn.commit().await?)
    }

    /// Starts anew from an empty confirmed layer; the outbox is kept with its bases. What is there stays readable
    /// until the first cut replaces all of it.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn rebootstrap(&self) -> Result<(), ReplicaError> {
        let mut txn = self.write_txn().await?;
        forget_position(&mut *txn).await?;
        Ok(txn.commit().await?)
    }

    /// What the cut settles in the outbox: entries whose effect it brought go, and what else lies on a touched
    /// record is replayed. Gives what went, and where it stands.
    async fn settle_confirmed(
        &self,
        txn: &mut dyn ReplicaTxn,
        mut taken: Taken,
        revision: Revision,
    ) -> Result<Vec<(MutationId, Revision)>, StoreError> {
        let writer = self.writer_or_provisional(state::stream(txn).await?.writer);
        let mut work = Work::new(txn, writer, revision);
        loop {
            let answered = work.txn.outbox_answered(revision, ROWS_MAX).await?;
            if answered.is_empty() {
                break;
            }
            let placed = |entry: Entry| {
                let at = entry.answered_revision().unwrap_or(revision);
                (entry, at)
            };
            work.finish(answered.into_iter().map(placed).collect()).await?;
        }
        taken.touched.append(&mut work.touched);
        let finished = work.finished;
        let kinds = if taken.kinds.is_empty() {
            self.kinds(txn).await?
        } else {
            let generation: u64 = state::load(txn, MetaKey::Kinds).await?.unwrap_or(0);
            state::save(txn, MetaKey::Kinds, &(generation + 1)).await?;
            std::sync::Arc::new(Kinds::load(txn).await?)
        };
        taken.add_outbox_keys(txn).await?;
        let context = self.context();
        let around = Surroundings { kinds: &kinds, context: &context, writer };
        rematerialise(txn, &around, &taken.touched).await?;
        Ok(finished)
    }
}

/// What a cut brought.
#[derive(Default)]
struct Taken {
    /// Records with outbox entries that it touched.
    touched: BTreeSet<Key>,
    /// Kinds whose declaration it touched.
    kinds: BTreeSet<String>,
    /// Whether every record may have changed.
    is_anew: bool,
}

impl Taken {
    async fn note(&mut self, txn: &mut dyn ReplicaTxn, keys: &[Key]) -> Result<(), StoreError> {
        let declarations = keys.iter().filter(|key| kind::is_declaration(&key.kind));
        self.kinds.extend(declarations.map(|key| key.id.as_str().to_owned()));
        txn.visible_changed(keys).await?;
        // Where every record may have changed, those with entries are found by the entries.
        if !self.is_anew {
            self.touched.extend(txn.outbox_has(keys).await?);
        }
        Ok(())
    }

    /// Records of kinds whose rule changed, or all, as far as they have entries.
    async fn add_outbox_keys(&mut self, txn: &mut dyn ReplicaTxn) -> Result<(), StoreError> {
        if self.kinds.is_empty() && !self.is_anew {
            return Ok(());
        }
        let is_concerned = |kind: &Kind| self.is_anew || self.kinds.contains(kind.as_str());
        let mut after = None;
        loop {
            let entries = txn.outbox_page(after, ROWS_MAX).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = Some(last.order);
            let keys = entries.into_iter().map(|entry| entry.mutation.key);
            self.touched.extend(keys.filter(|key| is_concerned(&key.kind)));
        }
    }
}

/// The view in force from this cut on: what lies outside of it goes. A replica that starts anew has taken
/// nothing of it in.
async fn take_view(
    txn: &mut dyn ReplicaTxn,
    layer: &mut Layer,
    taken: &mut Taken,
    cut: &Cut,
) -> Result<(), StoreError> {
    let Some(view) = &cut.view else { return Ok(()) };
    state::save(txn, MetaKey::View, view).await?;
    if layer.is_anew() {
        return Ok(());
    }
    let mut range = Range::default();
    loop {
        let mut rows = txn.confirmed_page(&range, ROWS_MAX).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        range.after = Some(last.record.key.clone());
        rows.retain(|row| !layer::is_kept(view, &row.record));
        let keys: Vec<Key> = rows.iter().map(|row| row.record.key.clone()).collect();
        layer.drops(&rows);
        taken.note(txn, &keys).await?;
        txn.confirmed_delete(&keys).await?;
    }
}

async fn take_items(
    txn: &mut dyn ReplicaTxn,
    layer: &mut Layer,
    taken: &mut Taken,
    page: Page,
) -> Result<(), ReplicaError> {
    let items = staged(page.changes, page.departures);
    if layer.is_anew() {
        taken.is_anew = true;
        taken.kinds.insert(kind::KIND.to_owned());
        stage_items(txn, &items).await?;
        return take_all(txn, layer, taken).await;
    }
    if txn.staging_page(None, 1).await.map_err(ReplicaError::of_staged)?.is_empty() {
        // The usual case in a live session: nothing staged, so nothing is staged now either.
        let mut latest: BTreeMap<Key, Staged> = BTreeMap::new();
        for item in items {
            if latest.get(item.key()).is_none_or(|held| held.rank() < item.rank()) {
                latest.insert(item.key().clone(), item);
            }
        }
        let items: Vec<Staged> = latest.into_values().collect();
        for items in items.chunks(ROWS_MAX) {
            let keys = layer.take(txn, items).await?;
            taken.note(txn, &keys).await?;
        }
        return Ok(());
    }
    stage_items(txn, &items).await?;
    let mut after = None;
    loop {
        let items = txn.staging_page(after.as_ref(), ROWS_MAX).await.map_err(ReplicaError::of_staged)?;
        let Some(last) = items.last() else { break };
        after = Some(last.key().clone());
        let keys = layer.take(txn, &items).await?;
        taken.note(txn, &keys).await?;
    }
    Ok(txn.staging_clear().await?)
}

/// Makes what is staged the layer, but for what lies outside of its view.
async fn take_all(
    txn: &mut dyn ReplicaTxn,
    layer: &mut Layer,
    taken: &mut Taken,
) -> Result<(), ReplicaError> {
    txn.staging_confirm().await?;
    let mut range = Range::default();
    loop {
        let rows = txn.confirmed_page(&range, ROWS_MAX).await.map_err(ReplicaError::of_staged)?;
        let Some(last) = rows.last() else { return Ok(()) };
        range.after = Some(last.record.key.clone());
        let (come, out) = layer.adopt(rows).map_err(ReplicaError::of_staged)?;
        txn.confirmed_delete(&out).await?;
        taken.note(txn, &come).await?;
    }
}

fn staged(changes: Vec<Change>, departures: Vec<Departure>) -> Vec<Staged> {
    let changes = changes.into_iter().map(|change| Staged::Change(Box::new(change)));
    changes.chain(departures.into_iter().map(Staged::Departure)).collect()
}

async fn stage_items(txn: &mut dyn ReplicaTxn, items: &[Staged]) -> Result<(), StoreError> {
    for items in items.chunks(ROWS_MAX) {
        txn.staging_put(items).await?;
    }
    Ok(())
}

/// Forgets where the replica stood and what it staged.
pub(super) async fn forget_position(txn: &mut dyn ReplicaTxn) -> Result<(), StoreError> {
    txn.staging_clear().await?;
    txn.meta_put(MetaKey::Resume, None).await?;
    txn.meta_put(MetaKey::Cursor, None).await
}
