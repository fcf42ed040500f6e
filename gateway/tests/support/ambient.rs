//! Time and randomness under a test's hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gateway::ambient::{Clock, Entropy, Passing};

/// Where test clocks start, milliseconds since 1970-01-01 UTC: in the year 2100, so that a database with a clock of
/// its own is behind them and says nothing.
pub const START_MS: u64 = 4_102_444_800_000;

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct TestClock {
    now_ms: AtomicU64,
    stands: Arc<AtomicBool>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { now_ms: AtomicU64::new(START_MS), stands: Arc::default() }
    }
}

impl TestClock {
    pub fn advance(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
    pub fn set(&self, ms: u64) {
        self.now_ms.store(ms, Ordering::SeqCst);
    }
    /// Lets no time pass for who waits, or any again.
    pub fn stand(&self, stands: bool) {
        self.stands.store(stands, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn passes(&self, _ms: u64) -> Passing {
        let stands = Arc::clone(&self.stands);
        Box::pin(async move {
            while stands.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        })
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
