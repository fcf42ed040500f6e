//! Waiting until nothing is left to push or to pull.

use std::time::Duration;

use semantics::ids::Revision;
use semantics::reason::{Class, Reason, Refusal};

use super::Spoke;
use crate::runtime::Progress;
use crate::sync::Phase;

/// Failures in a row to reach any hub after which waiting ends.
const FAILURES_MAX: u32 = 6;
/// Before a hub that did not tell its head is asked again.
const HEAD_AGAIN: Duration = Duration::from_secs(1);

impl Spoke {
    /// Pushes and pulls until nothing is left: every local write that was not set aside is confirmed, and the
    /// replica stands at or past where the hub's head was when this was called. Starts syncing if need be.
    ///
    /// # Errors
    /// What keeps the replica from syncing; the last trouble when for `stalled_ms` no push was answered and no page
    /// of a catch-up came. Where there was none the replica itself is looked at: `STORE_CORRUPT` when it is damaged,
    /// else `DEADLINE_EXCEEDED`.
    pub async fn wait_until_synced(&self, stalled_ms: u64) -> Result<Revision, Refusal> {
        let _round = self.handle.rounds().begin();
        let before = self.progress().borrow().clone();
        self.start().await?;
        let waiting = self.synced(&before);
        tokio::pin!(waiting);
        loop {
            let moved = self.progress().borrow().status.moved;
            if let Ok(result) = tokio::time::timeout(Duration::from_millis(stalled_ms), &mut waiting).await {
                return result;
            }
            let now = self.progress().borrow().status.clone();
            if now.moved == moved {
                return Err(match now.last_refusal {
                    Some(refusal) => refusal,
                    None => self.stalled(stalled_ms).await,
                });
            }
        }
    }

    /// Why nothing moves when nobody has said: what is damaged may keep a page from being applied or a write from
    /// being sent, and nobody is told of it but who asks.
    async fn stalled(&self, stalled_ms: u64) -> Refusal {
        let detail = format!("not in sync, and nothing moved for {stalled_ms} ms");
        let damage = match self.replica().examine().await {
            Ok(examined) => examined.damage(),
            Err(error) => return error.refusal(),
        };
        match damage {
            Some(damage) => {
                let detail = format!("{detail}: {damage}; `spoke doctor` says what can be mended");
                Refusal::new(Reason::StoreCorrupt, detail)
            }
            None => Refusal::new(Reason::DeadlineExceeded, detail),
        }
    }

    async fn synced(&self, before: &Progress) -> Result<Revision, Refusal> {
        // A session that is made from here on begins with a catch-up to the head. One that stood before has to
        // be told how far that is.
        let told = match before.status.phase {
            Phase::Live => self.head_of(before).await?,
            _ => Some(Revision::ZERO),
        };
        let sessions = before.status.sessions;
        let mut progress = self.progress();
        loop {
            let seen = progress.borrow_and_update().clone();
            if let Some(refusal) = ended(&seen, before) {
                return Err(refusal);
            }
            if seen.status.is_caught_up && seen.status.is_drained {
                let status = self.status().await?;
                let cursor = status.cursor.map_or(Revision::ZERO, |cursor| cursor.revision);
                let outbox = status.outbox;
                let is_level = told.is_some_and(|told| cursor >= told) || seen.status.sessions > sessions;
                if outbox.queued + outbox.dotted + outbox.answered == 0 && is_level {
                    return Ok(cursor);
                }
            }
            if progress.changed().await.is_err() {
                return Err(Refusal::new(Reason::Internal, "the task that syncs has ended"));
            }
        }
    }

    /// The hub's head; `None` when the session that stood before is over, so that the next one tells.
    async fn head_of(&self, before: &Progress) -> Result<Option<Revision>, Refusal> {
        loop {
            let refusal = match self.transport.head().await {
                Ok(revision) => return Ok(Some(revision)),
                Err(refusal) => refusal,
            };
            let now = self.progress().borrow().status.clone();
            if now.phase != Phase::Live || now.sessions != before.status.sessions {
                return Ok(None);
            }
            if !refusal.reason.is_transient() {
                return Err(refusal);
            }
            tokio::time::sleep(HEAD_AGAIN).await;
        }
    }
}

/// Whether waiting longer is of no use, and why.
fn ended(seen: &Progress, before: &Progress) -> Option<Refusal> {
    // What was so before the start that was just asked for says nothing yet.
    if seen.turns == before.turns {
        return None;
    }
    if seen.stopped.is_some() {
        return seen.stopped.clone();
    }
    let refusal = seen.status.last_refusal.as_ref()?;
    let failures = seen.status.failures;
    // What failed before somebody asked may go well now: at least one try is made for them.
    let is_tried = failures > before.status.failures;
    let is_final = match refusal.reason.class() {
        Class::Authentication => failures > 0,
        Class::Network => failures >= FAILURES_MAX && is_tried,
        Class::Data | Class::Platform => false,
    };
    is_final.then(|| refusal.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Statistics;
    use crate::sync::{Config, Sync};

    fn progress(failures: u32, turns: u64) -> Progress {
        let status = Sync::new(Config::default()).status();
        let last_refusal = Some(Refusal::new(Reason::Unreachable, "refused"));
        let status = crate::sync::Status { failures, last_refusal, ..status };
        Progress { status, stopped: None, turns, statistics: Statistics::default() }
    }

    #[test]
    fn failures_from_before_somebody_asked_end_no_wait() {
        let before = progress(FAILURES_MAX + 2, 10);
        assert_eq!(ended(&progress(FAILURES_MAX + 2, 11), &before), None, "nothing was tried yet");
        assert!(ended(&progress(FAILURES_MAX + 3, 12), &before).is_some());
        assert_eq!(ended(&progress(FAILURES_MAX - 1, 12), &progress(0, 10)), None);
        assert!(ended(&progress(FAILURES_MAX, 12), &progress(0, 10)).is_some());
    }
}
