//! Going on from a backup: what a log remembers of the incarnation before it, and what comes back from spokes.

use serde::{Deserialize, Serialize};

use crate::commit::Head;
use crate::cursor::Cursor;
use crate::envelope::Base;
use crate::fault::Fault;
use crate::ids::{CommitNumber, Digest, Dot, Key, LogId, Revision, Writer};
use crate::version::Version;

/// Epochs that a node may have opened in a log that did not go on from a backup. One that did begins higher, so that no
/// epoch is given twice although the log forgot some.
pub const EPOCHS_PER_LOG: u32 = 1 << 16;
/// Most logs that one tells to have gone on from.
pub const LINEAGE_MAX: usize = 16;
/// Longest time that a spoke keeps an acknowledged mutation which no backup holds, milliseconds.
pub const KEPT_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Most bytes of acknowledged mutations that a spoke keeps.
pub const KEPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most acknowledged mutations that a spoke keeps.
pub const KEPT_ENTRIES_MAX: u64 = 500_000;
/// Most entries of a version that travel with a [`Remnant`]; one with more travels without.
pub const REMNANT_DOTS_MAX: usize = 256;

/// What backups hold of a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Everything up to this revision; zero = backups are being made, and none is finished.
    pub revision: Revision,
    /// When the last one was made, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
}

/// How far the operators are with a log that went on from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Spokes of the incarnation before are refused.
    Stopped,
    /// They send again what the log lost.
    Recovering,
    /// What had not come back until now is refused again.
    Finished,
}

impl Phase {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Recovering => "recovering",
            Self::Finished => "finished",
        }
    }
}

/// That a log went on from a backup of another: kept with the new log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The incarnation before.
    pub predecessor: LogId,
    /// Its last commit that is known here.
    pub commit: CommitNumber,
    /// Its last revision that is known here: whatever it numbered higher is not in this log.
    pub revision: Revision,
    /// Its chain at that commit.
    pub chain: Digest,
    /// How often this tenant's log was restored.
    pub restores: u32,
    /// When, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// How far it is.
    pub phase: Phase,
}

impl Restored {
    /// What a replica that stands there is told when it may send again what this log does not hold: it stands in the
    /// incarnation before, or in another log that went on from that one (`lineage`: the logs that the cursor's went on
    /// from). Up to the revision it is told, this log and the cursor's are the same. Who stands in this log (`own`)
    /// already has nothing to send again.
    #[must_use]
    pub fn takes(&self, own: LogId, cursor: Option<&Cursor>, lineage: &[Recovery]) -> Option<Recovery> {
        let cursor = cursor.filter(|cursor| self.phase == Phase::Recovering && cursor.log_id != own)?;
        let told = self.told();
        if cursor.log_id == self.predecessor {
            return Some(told);
        }
        let parted = lineage.iter().find(|before| before.predecessor == self.predecessor)?;
        let (commit, revision) = (told.commit.min(parted.commit), told.revision.min(parted.revision));
        Some(Recovery { commit, revision, ..told })
    }
    /// Whether the log before had given this revision to something that is not in this one.
    #[must_use]
    pub fn lost(&self, revision: Revision) -> bool {
        revision > self.revision
    }
    /// The first epoch that this log may open by itself: the second after the one in which it began, counted from
    /// 1970-01-01 UTC (32 bits hold them until 2106). A backup that is restored twice does not know of the first time,
    /// but begins later: no epoch is given twice unless a node opened more of them than seconds passed between the two.
    /// Never below what a count of the restores gives, whatever the clock says.
    #[must_use]
    pub fn first_epoch(&self) -> u32 {
        let second = u32::try_from(self.time_ms / 1_000).unwrap_or(u32::MAX).saturating_add(1);
        second.max(self.restores.saturating_mul(EPOCHS_PER_LOG))
    }
    /// What a spoke is told.
    #[must_use]
    pub fn told(&self) -> Recovery {
        Recovery { predecessor: self.predecessor, commit: self.commit, revision: self.revision }
    }
}

/// The log that goes on from what a backup holds of another one: its head, and what it remembers of that one.
#[must_use]
pub fn renewed(backed_up: &Head, log_id: LogId, before: Option<&Restored>, time_ms: u64) -> (Head, Restored) {
    let log_id = if Fault::LogIdKept.is_planted() { backed_up.log_id } else { log_id };
    let restored = Restored {
        predecessor: backed_up.log_id,
        commit: backed_up.commit,
        revision: backed_up.revision,
        chain: backed_up.chain,
        restores: before.map_or(0, |before| before.restores).saturating_add(1),
        time_ms,
        phase: Phase::Stopped,
    };
    (Head { log_id, ..*backed_up }, restored)
}

/// The logs that a log went on from, the nearest first: the one it names itself, then those that this one went on from,
/// as far as the replica's own lineage (its log, and what that went on from) tells.
#[must_use]
pub fn lineage(origin: Option<Recovery>, known: Option<(LogId, &[Recovery])>) -> Vec<Recovery> {
    let Some(origin) = origin else { return Vec::new() };
    let earlier = known.map_or(&[][..], |(log_id, before)| {
        if log_id == origin.predecessor {
            return before;
        }
        let at = before.iter().position(|log| log.predecessor == origin.predecessor);
        at.and_then(|at| before.get(at + 1..)).unwrap_or_default()
    });
    std::iter::once(origin).chain(earlier.iter().copied()).take(LINEAGE_MAX).collect()
}

/// What a spoke is told of a log that went on from a backup of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The incarnation before.
    pub predecessor: LogId,
    /// Its last commit that the hub knows.
    pub commit: CommitNumber,
    /// Its last revision that the hub knows.
    pub revision: Revision,
}

/// A base as this log can read it: revisions that it never gave name nothing in it, neither as the state at its root
/// nor as what the hub itself wrote (whose counter is the revision, which this log gives to something else).
#[must_use]
pub fn rebased(mut base: Base, known: Revision) -> Base {
    let is_known = |dot: &Dot| dot.writer != Writer::HUB || dot.n <= known.0;
    if !base.version.dots().all(|dot| is_known(&dot)) {
        base.version = base.version.dots().filter(is_known).collect();
    }
    if base.revision > known {
        base.revision = Revision::ZERO;
    }
    base
}

/// What a mutation was made on, of other writers, and the log does not hold yet: their spokes will send it again, and
/// this one waits so that causes come before effects. `last_n` tells how far a writer's stream is in the log.
#[must_use]
pub fn waits_for(base: &Base, own: Writer, last_n: impl Fn(&Writer) -> u64) -> Option<Dot> {
    let others = base.version.dots().filter(|dot| dot.writer != own && dot.writer != Writer::HUB);
    others.into_iter().find(|dot| dot.n > last_n(&dot.writer))
}

/// A record as a spoke had it in the log before, at a revision that the present one never saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remnant {
    /// Which record.
    pub key: Key,
    /// Its revision in the log before.
    pub revision: Revision,
    /// Digest of the record.
    pub digest: Digest,
    /// Whether it was a tombstone.
    pub deleted: bool,
    /// Its version; empty where that has more than [`REMNANT_DOTS_MAX`] entries.
    pub version: Version,
}

/// Most remnants in one message.
pub const REMNANTS_PER_PAGE_MAX: usize = 256;
/// Bytes at which a message of remnants ends; one may pass it.
pub const REMNANT_PAGE_BYTES: usize = 32 * 1024;
/// Most messages of remnants from one node; what lies beyond stays with the node.
pub const REMNANT_PAGES_MAX: u32 = 256;

/// A part of what a spoke had in the log before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemnantPage {
    /// The log before.
    pub predecessor: LogId,
    /// Counts the parts, from 0.
    pub page: u32,
    /// In key order.
    pub remnants: Vec<Remnant>,
    /// Whether that was all.
    pub is_last: bool,
}

/// A record as the hub holds it.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// Digest of the record.
    pub digest: Digest,
    /// Its version.
    pub version: &'a Version,
}

impl Remnant {
    /// What it takes in a message, roughly, bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        /// Revision, digest and what frames them.
        const FIXED_BYTES: usize = 64;
        /// An entry of a version.
        const DOT_BYTES: usize = 40;
        let name = self.key.kind.as_str().len() + self.key.id.as_str().len();
        FIXED_BYTES + name + self.version.len() * DOT_BYTES
    }
    /// Whether the log holds again what made the record so: the same record, or one that contains all of its
    /// mutations. What the hub itself had written counts as back once it was written again after the restore.
    /// Otherwise it is only state: nothing is known of how it came about that could be sent again.
    #[must_use]
    pub fn is_back(&self, current: Option<Standing<'_>>, restored: Revision) -> bool {
        let Some(current) = current else { return self.deleted };
        if current.digest == self.digest {
            return true;
        }
        let mut mutations = self.version.dots().filter(|dot| dot.writer != Writer::HUB).peekable();
        if mutations.peek().is_some() {
            return mutations.all(|dot| current.version.contains(dot));
        }
        !self.version.is_empty() && current.version.get(&Writer::HUB) > restored.0
    }
}

/// Whether a spoke still keeps an acknowledged mutation: some backup is made, none of them holds it, and it is not
/// too old. A mutation without a revision (it was refused or withdrawn) has no effect that could be lost.
#[must_use]
pub fn keeps(revision: Revision, acknowledged_ms: u64, backed_up: Option<Revision>, now_ms: u64) -> bool {
    let is_young = now_ms.saturating_sub(acknowledged_ms) <= KEPT_MS_MAX;
    is_young && backed_up.is_some_and(|held| revision > held)
}

#[cfg(test)]
mod tests;
