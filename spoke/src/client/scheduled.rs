//! Syncing by a schedule.

use std::future::pending;
use std::sync::atomic::Ordering;

use semantics::reason::Refusal;
use semantics::schedule::{Due, Ended, Mode, Schedule, Seen};

use super::Spoke;

/// A round of a schedule ends when nothing has moved for so long, milliseconds.
const ROUND_STALLED_MS: u64 = 60_000;

impl Spoke {
    /// Syncs by a schedule for as long as this is polled. What is urgent, and what [`Spoke::sync_soon`] asks for, begins a
    /// round at once, unless the schedule has somebody ask for each. Between two rounds of the schedule no session stands, and
    /// one that [`Spoke::wait_until_synced`] opened is closed. Entries that wait in the outbox when this begins count
    /// as changes written then. A round that fails is tried again when the schedule says so.
    ///
    /// # Errors
    /// `INTERNAL` when the task that syncs has ended; it never returns else.
    pub async fn sync_by(&self, schedule: Schedule) -> Result<(), Refusal> {
        match schedule.mode {
            Mode::OnEvent => self.start().await?,
            Mode::Batch | Mode::Periodic | Mode::OnDemand => self.handle.rounds().rest_between(),
        }
        let mut writes = self.writes();
        let mut seen = Seen::default();
        loop {
            writes.mark_unchanged();
            self.look(&mut seen).await;
            let now_ms = self.clock.elapsed_ms();
            let Due::At(at_ms) = schedule.due(&seen) else { return pending().await };
            if at_ms <= now_ms {
                self.is_asked.store(false, Ordering::Relaxed);
                seen.last = Some(self.round().await);
                continue;
            }
            tokio::select! {
                () = self.clock.sleep(at_ms - now_ms) => {}
                changed = writes.changed() => if changed.is_err() { return pending().await },
            }
        }
    }

    async fn round(&self) -> Ended {
        let done = self.wait_until_synced(ROUND_STALLED_MS).await;
        if let Err(refusal) = &done {
            tracing::warn!(reason = refusal.reason.as_str(), detail = refusal.detail, "a round failed");
        }
        Ended { at_ms: self.clock.elapsed_ms(), has_failed: done.is_err() }
    }

    /// What waits now. What a store that cannot be read holds is not known: what was seen last stands.
    async fn look(&self, seen: &mut Seen) {
        let Ok(status) = self.status().await else { return };
        seen.changes = status.outbox.queued + status.outbox.dotted;
        seen.waiting_since_ms = match seen.changes {
            0 => None,
            _ => seen.waiting_since_ms.or(Some(self.clock.elapsed_ms())),
        };
        let Ok(is_urgent) = self.replica().has_urgent().await else { return };
        seen.urgent_since_ms = match is_urgent || self.is_asked.load(Ordering::Relaxed) {
            false => None,
            true => seen.urgent_since_ms.or(Some(self.clock.elapsed_ms())),
        };
    }
}
