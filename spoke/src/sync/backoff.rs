//! When to connect again.

use super::Config;

/// Counts failures, and what led nowhere; gives delays. Deterministic in its seed.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    failures: u32,
    in_vain: u32,
    /// Whether the replica or its position was thrown away since it was last in sync: pages that come again are no
    /// way forward then.
    is_anew: bool,
    jitter: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, in_vain: 0, is_anew: false, jitter: seed }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Sessions and new beginnings in a row that led nowhere.
    pub(super) fn in_vain(&self) -> u32 {
        self.in_vain
    }

    /// Nothing is held against the next attempt.
    pub(super) fn rested(&self) -> Self {
        Self::new(self.jitter)
    }

    /// The hub is there. What the session is good for is still to be seen.
    pub(super) fn welcomed(&mut self) {
        self.failures = 0;
        self.led_nowhere();
    }

    pub(super) fn led_nowhere(&mut self) {
        self.in_vain = self.in_vain.saturating_add(1);
    }

    pub(super) fn began_anew(&mut self) {
        self.is_anew = true;
        self.led_nowhere();
    }

    /// A page of a catch-up is kept.
    pub(super) fn staged(&mut self) {
        if !self.is_anew {
            self.in_vain = 0;
        }
    }

    /// Local mutations were answered.
    pub(super) fn moved(&mut self) {
        self.in_vain = 0;
    }

    /// All is well again.
    pub(super) fn in_sync(&mut self) {
        (self.in_vain, self.is_anew) = (0, false);
    }

    /// One more failure. Milliseconds to wait before the next attempt.
    pub(super) fn failed(&mut self, config: &Config) -> u64 {
        self.failures = self.failures.saturating_add(1);
        self.delay(config)
    }

    /// Milliseconds to wait before the next attempt.
    pub(super) fn delay(&mut self, config: &Config) -> u64 {
        if self.failures >= config.breaker_failures {
            return self.jittered(config.breaker_open_ms);
        }
        // The delay doubles with each round over all endpoints, not with each endpoint.
        let endpoints = u32::try_from(config.endpoints.max(1)).unwrap_or(u32::MAX);
        let tries = self.failures.max(self.in_vain).max(1);
        self.jittered(doubled(config.backoff_min_ms, 1 + (tries - 1) / endpoints, config))
    }

    /// Between half of a delay and the whole.
    pub(super) fn jittered(&mut self, delay_ms: u64) -> u64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let half = delay_ms / 2;
        half + z % (delay_ms - half + 1)
    }
}

/// A delay that doubles with each time after the first, up to the longest there is, milliseconds.
pub(super) fn doubled(first_ms: u64, times: u32, config: &Config) -> u64 {
    let factor = 1_u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
    first_ms.saturating_mul(factor).min(config.backoff_max_ms)
}
