//! Comparing the replica with the hub: scopes first, then ranges of the scopes that differ, down to the record; ranges of
//! everything where there are more scopes than one answer holds.

use std::time::Duration;

use semantics::compare::{Difference, RangeAsk, Scope, differences, scopes_that_differ, sum};
use semantics::envelope::Cell;
use semantics::ids::{Digest, Key, Revision};
use semantics::reason::{Reason, Refusal};

use super::Spoke;
use crate::replica::examine::Examined;
use crate::runtime::Command;

/// Most records that are named as different.
pub const DIFFERENCES_MAX: usize = 100;
/// How often it is tried to find hub and replica at the same revision.
const TRIES_MAX: usize = 5;

/// The replica beside the hub, both at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The replica.
    pub here: Examined,
    /// The hub's scopes of the node's view; `None` = there are too many, and all ranges were compared.
    pub there: Option<Vec<Scope>>,
    /// Scopes that differ.
    pub differ: Vec<Cell>,
    /// Records that differ in them, or at all, the first ones in key order of each scope, at most [`DIFFERENCES_MAX`].
    pub records: Vec<Difference>,
}

/// A search for records that differ.
struct Search {
    /// Where hub and replica stood at its beginning.
    at: Revision,
    /// Whether the hub has moved since: a record that it deleted meanwhile would count.
    has_moved: bool,
    found: Vec<Difference>,
}

impl Spoke {
    /// Syncs, and compares the confirmed records with the hub's. Writes of others meanwhile are no difference.
    ///
    /// # Errors
    /// Those of [`Spoke::wait_until_synced`]; OVERLOADED when others write so fast that the two are never found at
    /// one revision; what the hub refuses.
    pub async fn compare(&self, stalled_ms: u64) -> Result<Compared, Refusal> {
        for _ in 0..TRIES_MAX {
            self.wait_until_synced(stalled_ms).await?;
            let there = match self.transport.scopes().await {
                Err(refusal) if refusal.reason == Reason::TooLarge => None,
                scopes => Some(scopes?),
            };
            let here = self.replica.examine().await?;
            if there.as_ref().is_some_and(|there| here.revision != there.revision) {
                continue;
            }
            let there = there.map(|there| there.scopes);
            let differ =
                there.as_ref().map(|there| scopes_that_differ(&here.scopes, there)).unwrap_or_default();
            let mut search = Search { at: here.revision, has_moved: false, found: Vec::new() };
            if there.is_none() {
                self.differing(None, &mut search).await?;
            }
            for cell in &differ {
                self.differing(Some(cell), &mut search).await?;
            }
            if !search.has_moved {
                return Ok(Compared { here, there, differ, records: search.found });
            }
        }
        let detail = "others write so fast that hub and replica were never at one revision";
        Err(Refusal::new(Reason::Overloaded, detail))
    }

    /// Fetches the confirmed records anew and replaces what is here once all of them have come. The outbox is kept.
    ///
    /// # Errors
    /// What keeps the replica from syncing; DEADLINE_EXCEEDED when for `stalled_ms` nothing moves.
    pub async fn fetch_anew(&self, stalled_ms: u64) -> Result<(), Refusal> {
        let _round = self.handle.rounds().begin();
        let sessions = self.progress().borrow().status.sessions;
        self.handle.ask(Command::Anew).await?;
        let coming = self.come_anew(sessions);
        tokio::pin!(coming);
        loop {
            // Tries to connect are no movement: they may go on for ever.
            let moved = self.progress().borrow().status.moved;
            if let Ok(result) = tokio::time::timeout(Duration::from_millis(stalled_ms), &mut coming).await {
                return result;
            }
            let now = self.progress().borrow().clone();
            if now.status.moved == moved {
                let detail = format!("the records did not come anew: nothing moved for {stalled_ms} ms");
                let refusal = now.stopped.or(now.status.last_refusal);
                return Err(refusal.unwrap_or_else(|| Refusal::new(Reason::DeadlineExceeded, detail)));
            }
        }
    }

    /// Waits for the first cut of a session after this many.
    async fn come_anew(&self, sessions: u64) -> Result<(), Refusal> {
        let mut progress = self.progress();
        loop {
            let now = progress.borrow_and_update().clone();
            if now.status.sessions > sessions && now.status.is_caught_up {
                return Ok(());
            }
            if progress.changed().await.is_err() {
                return Err(Refusal::new(Reason::Internal, "the task that syncs has ended"));
            }
        }
    }

    /// Finds the records of a scope that differ; `None` = of all.
    async fn differing(&self, cell: Option<&Cell>, search: &mut Search) -> Result<(), Refusal> {
        let (mut from, mut after) = (Vec::new(), None::<Key>);
        while search.found.len() < DIFFERENCES_MAX {
            let ask = RangeAsk { from, cell: cell.cloned(), with_records: false };
            let there = self.transport.range(&ask).await?;
            search.has_moved |= there.revision != search.at;
            if there.last.is_some() || there.next.is_none() {
                let up_to = there.last.as_ref().filter(|_| there.next.is_some());
                let (here, _) = self.replica.named(cell, after.clone(), up_to).await?;
                let digests: Vec<Digest> = here.iter().map(|named| named.digest).collect();
                if sum(&digests) != there.digest {
                    self.name(cell, &ask, after.clone(), search).await?;
                }
                after = there.last.or(after);
            }
            let Some(next) = there.next else { break };
            from = next;
        }
        search.found.truncate(DIFFERENCES_MAX);
        Ok(())
    }

    /// Names the records of one range that differ.
    async fn name(
        &self,
        cell: Option<&Cell>,
        ask: &RangeAsk,
        after: Option<Key>,
        search: &mut Search,
    ) -> Result<(), Refusal> {
        let mut there = self.transport.range(&RangeAsk { with_records: true, ..ask.clone() }).await?;
        search.has_moved |= there.revision != search.at;
        let up_to = there.last.as_ref().filter(|_| there.next.is_some());
        let (here, is_all) = self.replica.named(cell, after, up_to).await?;
        if let (false, Some(last)) = (is_all, here.last()) {
            there.named.retain(|named| named.key <= last.key);
        }
        search.found.extend(differences(&here, &there.named));
        Ok(())
    }
}
