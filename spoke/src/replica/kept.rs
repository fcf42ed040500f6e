//! What took effect is kept until a backup of the hub holds it: it can be sent again when the hub begins anew from a
//! backup that does not.

use semantics::ids::{LogId, Revision};
use semantics::recovery::{KEPT_BYTES_MAX, KEPT_ENTRIES_MAX, keeps};

use super::entry::Entry;
use super::recover::sent_before;
use super::state::{self, Backups};
use super::store::{Kept, MetaKey, ROWS_MAX, ReplicaTxn};
use crate::error::StoreError;

/// What the hub said of its backups is written down at least this often, milliseconds.
const NOTED_MS: u64 = 60_000;

/// Keeps entries that took effect, where backups are made and none is known to hold them.
pub(super) async fn keep(txn: &mut dyn ReplicaTxn, effects: &[(Entry, Revision)]) -> Result<(), StoreError> {
    let mut backups = state::backups(txn).await?;
    let Some(held) = backups.revision else { return Ok(()) };
    let mut kept = Vec::new();
    for (entry, revision) in effects.iter().filter(|(_, revision)| *revision > held) {
        let entry = Entry { base_body: None, after: None, refused_here: None, ..entry.clone() };
        backups.entries = backups.entries.saturating_add(1);
        backups.bytes = backups.bytes.saturating_add(entry.bytes());
        kept.push(Kept { revision: *revision, acknowledged_ms: backups.noted_ms, entry });
    }
    if kept.is_empty() {
        return Ok(());
    }
    backups.log_id = state::cursor(txn).await?.map(|cursor| cursor.log_id).or(backups.log_id);
    txn.kept_put(&kept).await?;
    state::save(txn, MetaKey::Backups, &backups).await
}

/// The replica, which stood nowhere, comes to a log: what it keeps of another one nobody will ask for, and is set aside
/// for a person.
pub(super) async fn leave_behind(txn: &mut dyn ReplicaTxn, log_id: LogId) -> Result<(), StoreError> {
    let backups = state::backups(txn).await?;
    if backups.entries == 0 || backups.log_id.is_none_or(|kept_of| kept_of == log_id) {
        return Ok(());
    }
    let kept = take_all(txn).await?;
    let entries: Vec<Entry> = kept.into_iter().map(|kept| sent_before(kept.entry)).collect();
    for entries in entries.chunks(ROWS_MAX) {
        txn.outbox_put(entries).await?;
    }
    Ok(())
}

/// Remembers up to where backups hold the log, and lets go what need not, or can not, be kept any longer. Whether
/// anything was written.
pub(super) async fn note(
    txn: &mut dyn ReplicaTxn,
    revision: Option<Revision>,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let mut backups = state::backups(txn).await?;
    let is_fresh = now_ms.saturating_sub(backups.noted_ms) < NOTED_MS;
    let is_within = backups.bytes <= KEPT_BYTES_MAX && backups.entries <= KEPT_ENTRIES_MAX;
    if backups.revision == revision && is_fresh && is_within {
        return Ok(false);
    }
    backups.revision = revision;
    backups.noted_ms = now_ms;
    let_go(txn, &mut backups, now_ms).await?;
    state::save(txn, MetaKey::Backups, &backups).await?;
    Ok(true)
}

/// Forgets from the oldest on until one is to be kept and all of them are within their bounds.
async fn let_go(txn: &mut dyn ReplicaTxn, backups: &mut Backups, now_ms: u64) -> Result<(), StoreError> {
    loop {
        let page = txn.kept_page(Revision::ZERO, ROWS_MAX).await?;
        let mut gone = None;
        for kept in &page {
            let is_held = backups.revision.is_none_or(|held| kept.revision <= held);
            let is_within = backups.bytes <= KEPT_BYTES_MAX && backups.entries <= KEPT_ENTRIES_MAX;
            if is_within && keeps(kept.revision, kept.acknowledged_ms, backups.revision, now_ms) {
                break;
            }
            backups.entries = backups.entries.saturating_sub(1);
            backups.bytes = backups.bytes.saturating_sub(kept.entry.bytes());
            backups.given_up = backups.given_up.saturating_add(u64::from(!is_held));
            gone = Some(kept.revision);
        }
        let Some(up_to) = gone else { return Ok(()) };
        txn.kept_remove(up_to).await?;
        if page.len() < ROWS_MAX || page.last().is_some_and(|last| last.revision > up_to) {
            return Ok(());
        }
    }
}

/// Takes out everything that is kept.
pub(super) async fn take_all(txn: &mut dyn ReplicaTxn) -> Result<Vec<Kept>, StoreError> {
    let mut all = Vec::new();
    let mut after = Revision::ZERO;
    loop {
        let page = txn.kept_page(after, ROWS_MAX).await?;
        let Some(last) = page.last() else { break };
        after = last.revision;
        all.extend(page);
    }
    txn.kept_remove(after).await?;
    let backups = Backups { entries: 0, bytes: 0, ..state::backups(txn).await? };
    state::save(txn, MetaKey::Backups, &backups).await?;
    Ok(all)
}
