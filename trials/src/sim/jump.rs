//! Gateways' clocks that jump while nodes expire: one that is ahead takes everybody for silent, those too who are in
//! session at another gateway; one that is behind lets leases and silence last. Then it is right again, and what was
//! committed meanwhile keeps the tenant's time ahead.

use super::world::{Event, World};

/// Furthest ahead, milliseconds: below the bound on stamps, so that spokes are still told the time.
const AHEAD_MS_MAX: u64 = 40_000;
/// Furthest back, milliseconds.
const BACK_MS_MAX: u64 = 3_600_000;
/// Longest time that it lasts, milliseconds.
const LASTS_MS_MAX: u64 = 2_500;

impl World {
    /// A gateway's clock jumps; mostly it tidies up before the clock is right again.
    pub(super) fn jump(&mut self) {
        let g = self.rng.index(self.gateways.len());
        let expiry_ms = self.profile.expiry_ms;
        let lasts_ms = self.rng.range(50, LASTS_MS_MAX);
        self.stats.jumps += 1;
        if self.rng.permille(250) {
            let back_ms = self.rng.range(expiry_ms, BACK_MS_MAX);
            self.gateways[g].clock.set(-i64::try_from(back_ms).unwrap_or(i64::MAX));
            self.note(|| format!("gateway {g}'s clock jumps {back_ms} ms back for {lasts_ms} ms"));
        } else {
            let ahead_ms = self.rng.range(expiry_ms / 2, (4 * expiry_ms).min(AHEAD_MS_MAX));
            self.gateways[g].clock.set(i64::try_from(ahead_ms).unwrap_or(i64::MAX));
            let mut shared = self.ctx.lock();
            shared.hub_ahead_ms = shared.hub_ahead_ms.max(ahead_ms);
            drop(shared);
            self.note(|| format!("gateway {g}'s clock jumps {ahead_ms} ms ahead for {lasts_ms} ms"));
        }
        self.after(lasts_ms, Event::ClockIsRight(g));
        self.tidy_up();
    }
}
