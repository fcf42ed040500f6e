//! What syncing came to: records added, updated and deleted, mutations pushed, bytes both ways, time.

use super::Traffic;
use crate::sync::{Counts, Phase, Status};

/// Without anything moving for so long, a sync is over and the next movement is another, milliseconds.
const QUIET_MS: u64 = 1_000;

/// Sums over some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// What became of confirmed records.
    pub counts: Counts,
    /// Local mutations that were answered.
    pub pushed: u64,
    /// Bytes on the wire.
    pub traffic: Traffic,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
}

/// What syncing came to since the process opened the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// The last sync: from the time there was something to do, or a connection to open, to the time when nothing was
    /// left for a second: what the hub sends back of a push belongs to it. `None` = none yet.
    pub last: Option<Sums>,
    /// When it ended, milliseconds since 1970-01-01 UTC.
    pub last_ended_ms: u64,
    /// How many there were.
    pub syncs: u64,
    /// Everything, syncs that were cut off included; their time is not.
    pub total: Sums,
}

/// The time of a turn of the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// When it began, by the clock that never goes back, milliseconds.
    pub(super) began_ms: u64,
    /// When it ended.
    pub(super) ended_ms: u64,
    /// Wall time.
    pub(super) now_ms: u64,
}

/// Adds it up, one turn of the engine at a time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    statistics: Statistics,
    /// When the sync under way began, and the totals by then.
    begun: Option<(u64, Sums)>,
    /// The same of the last sync, and when it ended.
    last: Option<(u64, Sums, u64)>,
}

impl Tally {
    pub(super) fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// What the engine says after a turn.
    pub(super) fn note(&mut self, status: &Status, traffic: Traffic, turn: Turn) {
        let before = self.statistics.total;
        let total = &mut self.statistics.total;
        *total = Sums { counts: status.counts, pushed: status.pushed, traffic, ..*total };
        let has_moved = total.counts != before.counts || total.pushed != before.pushed;
        if matches!(status.phase, Phase::Idle | Phase::Waiting) {
            self.begun = None;
        } else if !(status.is_caught_up && status.is_drained) {
            self.begun.get_or_insert((turn.began_ms, before));
        } else if let Some((began_ms, base)) = self.begun.take() {
            self.over(began_ms, base, turn);
        } else if has_moved {
            match self.last {
                Some((began_ms, base, ended_ms)) if turn.began_ms.saturating_sub(ended_ms) <= QUIET_MS => {
                    let counted_ms = self.statistics.last.map_or(0, |last| last.duration_ms);
                    let duration_ms = self.statistics.total.duration_ms;
                    self.statistics.total.duration_ms = duration_ms.saturating_sub(counted_ms);
                    self.statistics.syncs = self.statistics.syncs.saturating_sub(1);
                    self.over(began_ms, base, turn);
                }
                _ => self.over(turn.began_ms, before, turn),
            }
        }
    }

    fn over(&mut self, began_ms: u64, base: Sums, turn: Turn) {
        let duration_ms = turn.ended_ms.saturating_sub(began_ms);
        let total = &mut self.statistics.total;
        total.duration_ms = total.duration_ms.saturating_add(duration_ms);
        self.statistics.last = Some(Sums { duration_ms, ..since(total, &base) });
        self.statistics.last_ended_ms = turn.now_ms;
        self.statistics.syncs = self.statistics.syncs.saturating_add(1);
        self.last = Some((began_ms, base, turn.ended_ms));
    }
}

fn since(now: &Sums, base: &Sums) -> Sums {
    Sums {
        counts: Counts {
            added: now.counts.added.saturating_sub(base.counts.added),
            updated: now.counts.updated.saturating_sub(base.counts.updated),
            deleted: now.counts.deleted.saturating_sub(base.counts.deleted),
        },
        pushed: now.pushed.saturating_sub(base.pushed),
        traffic: Traffic {
            sent: now.traffic.sent.saturating_sub(base.traffic.sent),
            received: now.traffic.received.saturating_sub(base.traffic.received),
        },
        duration_ms: 0,
    }
}

#[cfg(test)]
mod tests;
