//! When to connect again.

use super::Config;

/// Counts failures; gives delays. Deterministic in its seed.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    failures: u32,
    jitter: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, jitter: seed }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// All is well again.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// One more failure. Milliseconds to wait before the next attempt.
    pub(super) fn failed(&mut self, config: &Config) -> u64 {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= config.breaker_failures {
            return self.jittered(config.breaker_open_ms);
        }
        // The delay doubles with each round over all endpoints, not with each endpoint.
        let endpoints = u32::try_from(config.endpoints.max(1)).unwrap_or(u32::MAX);
        let round = (self.failures - 1) / endpoints;
        let delay = config.backoff_min_ms.saturating_mul(1_u64.checked_shl(round).unwrap_or(u64::MAX));
        self.jittered(delay.min(config.backoff_max_ms))
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
