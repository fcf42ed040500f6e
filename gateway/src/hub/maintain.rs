//! Keeping the log short: what every open writer has acknowledged may go, but for what retention, leases and open
//! conflicts keep.

use std::collections::BTreeSet;

use semantics::conflict::Conflict;
use semantics::envelope::Record;
use semantics::fault::Fault;
use semantics::ids::{CommitNumber, Revision, TenantId, Writer};
use semantics::kind;
use semantics::reason::Reason;

use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::known::node_key;
use super::presence::{Seen, Told, ack_key};
use super::work::Work;
use super::{Hub, Lease, Principal};
use crate::store::{LogEntry, LogQuery, PlainRow, Prune, Space, Wanted, WriterRow};

/// Plain rows and writers read at once.
const PAGE_MAX: usize = 1_000;
/// Log rows looked through for one step of pruning.
const PRUNE_ROWS_MAX: usize = 1_000;
/// Weight at which a step of pruning ends, bytes; one row may pass it.
const PRUNE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Steps of one round; what lies beyond is for the next round, so that one tenant does not keep others waiting.
const PRUNE_STEPS_MAX: usize = 100;
/// Name of the mark up to which the log has been pruned.
const PRUNED_TO: &[u8] = b"pruned-to";
/// Name of the mark that says which gateway looks after the tenant.
const KEEPER: &[u8] = b"keeper";

/// Which gateway looks after a tenant, and until when.
#[derive(Debug, Serialize, Deserialize)]
struct Keeper {
    gateway: String,
    until_ms: u64,
}

impl Hub {
    /// Whether this gateway is the one to look after the tenant now: it takes the lease, or renews it, unless another
    /// has it. A gateway without a name is always the one. A lease saves double work and keeps nobody out: two rounds
    /// at once are safe.
    ///
    /// # Errors
    /// Store errors.
    pub async fn is_keeper(&self, tenant: &TenantId) -> Result<bool, HubError> {
        let Some(name) = self.name() else { return Ok(true) };
        let now_ms = self.clock().now_ms();
        let until_ms = now_ms.saturating_add(self.bounds().keeper_ms);
        let row = self.store().plain_get(tenant, Space::Mark, KEEPER).await?;
        let held: Option<Keeper> = row.as_ref().and_then(|row| serde_json::from_slice(&row.value).ok());
        // A lease that ends later than any could was written by a clock that was wrong.
        let is_others = |held: Keeper| held.gateway != name && (now_ms..=until_ms).contains(&held.until_ms);
        if held.is_some_and(is_others) {
            return Ok(false);
        }
        let value = serde_json::to_vec(&Keeper { gateway: name.to_owned(), until_ms })
            .map_err(|e| HubError::internal(e.to_string()))?;
        let version = row.map_or(0, |row| row.version);
        Ok(self.store().plain_put(tenant, Space::Mark, KEEPER, &value, version).await?)
    }

    /// One round: closes expired epochs, forgets settled conflicts, moves the horizon, prunes. Safe to run on several gateways at once.
    ///
    /// # Errors
    /// Store errors.
    pub async fn maintain(&self, tenant: &TenantId) -> Result<(), HubError> {
        let now_ms = self.clock().now_ms();
        self.forget_old(now_ms);
        let seen = self.all_seen(tenant).await?;
        let writers = self.all_writers(tenant).await?;
        let since_ms = now_ms.saturating_sub(self.parts().retention.expiry_ms);
        let heard = |row: &WriterRow| seen.iter().find(|seen| seen.writer == row.writer);
        for row in writers.iter().filter(|row| !row.closed && heard(row).is_none()) {
            // Opened a moment ago: its silence begins now.
            let first = Seen {
                writer: row.writer,
                cursor: None,
                seen_ms: now_ms,
                answered_n: 0,
                told: Told::default(),
                agreed: None,
            };
            let value = serde_json::to_vec(&first).map_err(|e| HubError::internal(e.to_string()))?;
            self.store().plain_put(tenant, Space::Ack, &ack_key(row.writer), &value, 0).await?;
        }
        let is_expired =
            |row: &&WriterRow| !row.closed && heard(row).is_some_and(|seen| seen.seen_ms < since_ms);
        let expired: Vec<Writer> = writers.iter().filter(is_expired).map(|row| row.writer).collect();
        let open: Vec<&WriterRow> =
            writers.iter().filter(|row| !row.closed && !expired.contains(&row.writer)).collect();
        if !expired.is_empty() {
            self.submit(tenant, Work::CloseEpochs(expired)).await?;
        }
        self.forget_settled(tenant, now_ms).await?;
        let head = self.store().head(tenant).await?;
        let keep = Revision(head.revision.0.saturating_sub(self.parts().retention.revisions_min));
        let acknowledged = seen
            .iter()
            .filter(|seen| open.iter().any(|row| row.writer == seen.writer))
            .filter_map(|seen| seen.cursor.map(|cursor| cursor.revision))
            .filter(|_| !Fault::HorizonPassesReaders.is_planted());
        let mut leased = self.leases(tenant, now_ms).await?;
        leased.retain(|_| !Fault::LeasesIgnored.is_planted());
        let to = acknowledged.chain(leased).fold(keep, Revision::min);
        if to > head.horizon {
            self.submit(tenant, Work::MoveHorizon(to)).await?;
        }
        let open = self.confirmed(tenant, (open, &seen), to.max(head.horizon)).await?;
        self.prune(tenant, &open.iter().collect::<Vec<_>>()).await
    }

    /// Takes as confirmed what replicas said to have got by their last sign of life: a writer confirms an outcome by its
    /// next push, and one that only reads would else keep the commits of everybody. Nothing is written while they keep
    /// nothing below the horizon.
    async fn confirmed(
        &self,
        tenant: &TenantId,
        (open, seen): (Vec<&WriterRow>, &[Seen]),
        horizon: Revision,
    ) -> Result<Vec<WriterRow>, HubError> {
        let needed = self.commits_needed(tenant, &open, horizon).await?;
        let mut rows: Vec<WriterRow> = open.into_iter().cloned().collect();
        if needed >= horizon {
            return Ok(rows);
        }
        let mut got = Vec::new();
        for row in &mut rows {
            let n = seen.iter().find(|seen| seen.writer == row.writer).map_or(0, |seen| seen.answered_n);
            let before = row.answered.len();
            row.answered.retain(|range| range.last_n > n);
            if row.answered.len() < before {
                got.push((row.writer, n));
            }
        }
        if !got.is_empty() {
            self.submit(tenant, Work::Confirm(got)).await?;
        }
        Ok(rows)
    }

    pub(super) async fn all_seen(&self, tenant: &TenantId) -> Result<Vec<Seen>, HubError> {
        let mut all = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store().plain_page(tenant, Space::Ack, after.as_deref(), PAGE_MAX).await?;
            all.extend(page.iter().filter_map(|row| serde_json::from_slice::<Seen>(&row.value).ok()));
            after = page.last().map(|row| row.key.clone());
            if page.len() < PAGE_MAX {
                return Ok(all);
            }
        }
    }

    pub(super) async fn all_writers(&self, tenant: &TenantId) -> Result<Vec<WriterRow>, HubError> {
        let mut all: Vec<WriterRow> = Vec::new();
        loop {
            let after = all.last().map(|row| row.writer);
            let page = self.store().writers(tenant, None, after, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    pub(super) async fn leases(&self, tenant: &TenantId, now_ms: u64) -> Result<Vec<Revision>, HubError> {
        let mut floors = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store().plain_page(tenant, Space::Lease, after.as_deref(), PAGE_MAX).await?;
            for row in &page {
                let lease = serde_json::from_slice::<Lease>(&row.value).ok();
                match lease.filter(|lease| lease.until_ms > now_ms) {
                    Some(lease) => floors.push(lease.floor),
                    None => self.end_lease(tenant, row, &mut floors).await?,
                }
            }
            after = page.last().map(|row| row.key.clone());
            if page.len() < PAGE_MAX {
                return Ok(floors);
            }
        }
    }

    /// Takes a lease away that has ended; one that was renewed since it was read holds.
    async fn end_lease(
        &self,
        tenant: &TenantId,
        read: &PlainRow,
        floors: &mut Vec<Revision>,
    ) -> Result<(), HubError> {
        if !self.store().plain_delete(tenant, Space::Lease, read).await? {
            let now = self.store().plain_get(tenant, Space::Lease, &read.key).await?;
            let lease = now.and_then(|row| serde_json::from_slice::<Lease>(&row.value).ok());
            floors.extend(lease.map(|lease| lease.floor));
        }
        Ok(())
    }

    /// Prunes up to the horizon, or as far as one round goes.
    async fn prune(&self, tenant: &TenantId, open: &[&WriterRow]) -> Result<(), HubError> {
        for _ in 0..PRUNE_STEPS_MAX {
            if !self.prune_step(tenant, open).await? {
                break;
            }
        }
        Ok(())
    }

    /// Row r gives its record's previous revision free, a tombstone itself, once r is at or below the horizon.
    /// Whether there is more to look through.
    async fn prune_step(&self, tenant: &TenantId, open: &[&WriterRow]) -> Result<bool, HubError> {
        let mark = self.store().plain_get(tenant, Space::Mark, PRUNED_TO).await?;
        let version = mark.as_ref().map_or(0, |row| row.version);
        let mut pruned_to =
            mark.and_then(|row| serde_json::from_slice(&row.value).ok()).unwrap_or(Revision::ZERO);
        let query = LogQuery {
            after: pruned_to,
            rows_max: PRUNE_ROWS_MAX,
            bytes_max: PRUNE_BYTES_MAX,
            keys: BTreeSet::new(),
            with_cells: false,
        };
        let page = self.store().log_page(tenant, &query).await?;
        let horizon = page.head.horizon;
        let below: Vec<&LogEntry> =
            page.entries.iter().filter(|entry| entry.row.revision <= horizon).collect();
        let mut prune =
            Prune { commits_below: self.commits_needed(tenant, open, horizon).await?, ..Prune::default() };
        let mut freed: BTreeSet<Revision> =
            below.iter().map(|e| e.row.previous).filter(|revision| *revision != Revision::ZERO).collect();
        // A tombstone below the horizon is absent; a record made where it was does not name it as its previous.
        let stands = |e: &LogEntry| e.now.as_ref().is_some_and(|now| now.revision == e.row.revision);
        let replaced = below.iter().filter(|e| e.row.record.is_deleted() && !stands(e));
        freed.extend(replaced.map(|e| e.row.revision));
        freed.extend(self.released(tenant, &below).await?);
        let held = self.store().held(tenant, &freed).await?;
        let is_held = |row: &&Revision| held.contains(row) && !Fault::HeldRowPruned.is_planted();
        prune.rows = freed.iter().filter(|row| !is_held(row)).copied().collect();
        for entry in below.iter().filter(|entry| stands(entry)) {
            if let Some(tombstone) = entry.now.as_ref().filter(|now| now.deleted && now.open.is_empty()) {
                prune.tombstones.push((tombstone.key.clone(), tombstone.revision));
            }
        }
        self.store().prune(tenant, &prune).await?;
        if let Some(last) = below.last() {
            pruned_to = last.row.revision;
            let value = serde_json::to_vec(&pruned_to).map_err(|e| HubError::internal(e.to_string()))?;
            // A lost race means that another gateway has pruned as far.
            self.store().plain_put(tenant, Space::Mark, PRUNED_TO, &value, version).await?;
        }
        let has_rows = !page.reaches_head && !below.is_empty() && below.len() == page.entries.len();
        Ok(has_rows || self.has_commits_below(tenant, prune.commits_below).await?)
    }

    /// Whether pruning has left commits that may go: one call takes a bounded number of them.
    async fn has_commits_below(&self, tenant: &TenantId, below: Revision) -> Result<bool, HubError> {
        let oldest = self.store().commits_after(tenant, CommitNumber::ZERO, 1).await?;
        Ok(oldest.first().is_some_and(|commit| commit.last < below))
    }

    /// What a conflict named and names no more: it was superseded long ago and only held.
    async fn released(&self, tenant: &TenantId, below: &[&LogEntry]) -> Result<BTreeSet<Revision>, HubError> {
        let mut released = BTreeSet::new();
        for entry in below.iter().filter(|entry| kind::is_conflict(&entry.row.record.key.kind)) {
            let row = &entry.row;
            let before = self.store().rows(tenant, &BTreeSet::from([row.previous])).await?.pop();
            let Some(before) = before.and_then(|before| conflict_of(&before.record)) else { continue };
            let now = conflict_of(&row.record);
            let still = now.as_ref().map(Conflict::named).unwrap_or_default();
            // Who settled it let it go as it stood then: what stood, if nothing was written over it, stands.
            let settled = now.filter(|now| !now.open).and_then(|now| now.resolution);
            let below = settled.map_or(Revision(u64::MAX), |settled| settled.account.revision);
            let gone = before.named().difference(&still).copied().filter(|gone| *gone < below).collect();
            let rows = self.store().rows(tenant, &gone).await?;
            // What a conflict names came from outside: nothing but the subject's own rows goes for it.
            let own = rows.into_iter().filter(|row| row.record.key == before.subject);
            released.extend(own.map(|row| row.revision));
        }
        Ok(released)
    }

    /// Commits below this revision hold no answer that an open writer may still ask for.
    async fn commits_needed(
        &self,
        tenant: &TenantId,
        open: &[&WriterRow],
        horizon: Revision,
    ) -> Result<Revision, HubError> {
        let Some(first) = open.iter().filter_map(|row| row.answered.first()).map(|range| range.commit).min()
        else {
            return Ok(horizon);
        };
        let before = CommitNumber(first.0.saturating_sub(1));
        let found = self.store().commits_after(tenant, before, 1).await?;
        Ok(found.first().map_or(horizon, |commit| commit.last.min(horizon)))
    }

    /// Whether a node is registered at all: for listings.
    ///
    /// # Errors
    /// NOT_FOUND; store errors.
    pub async fn require_node(&self, who: &Principal) -> Result<(), HubError> {
        let keys = node_key(who.node).into_iter().collect();
        let loaded = self.store().load(&who.tenant, &Wanted { keys, ..Wanted::default() }).await?;
        if loaded.current.is_empty() {
            return Err(HubError::new(Reason::NotFound, format!("no node {}", who.node)));
        }
        Ok(())
    }
}

fn conflict_of(record: &Record) -> Option<Conflict> {
    serde_json::from_slice(record.body()?).ok()
}
