//! Time and randomness under a test's hand.

use std::sync::atomic::{AtomicU64, Ordering};

use gateway::ambient::{Clock, Entropy};

/// Where test clocks start, milliseconds since 1970-01-01 UTC: in the year 2100, so that a database with a clock of
/// its own is behind them and says nothing.
pub const START_MS: u64 = 4_102_444_800_000;

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct TestClock(AtomicU64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicU64::new(START_MS))
    }
}

impl TestClock {
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Bytes that count.
#[derive(Debug, Default)]
pub struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn bytes16(&self) -> [u8; 16] {
        let n = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        let mut bytes = [0xe0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        bytes
    }
}
