//! Time and randomness, as parameters. The only file of this crate that touches the real ones.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::replica::Entropy;

/// Time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time, milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
    /// Milliseconds since some fixed moment; never goes back.
    fn elapsed_ms(&self) -> u64;
    /// The same in microseconds, for what is short.
    fn elapsed_us(&self) -> u64 {
        self.elapsed_ms().saturating_mul(1_000)
    }
    /// Ends when so many milliseconds have passed by [`Clock::elapsed_ms`].
    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The machine's clock.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place where elapsed time enters the spoke")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where wall time enters the spoke")]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(clippy::disallowed_methods, reason = "the one place where randomness enters the spoke")]
    #[allow(clippy::expect_used, reason = "guessable ids would be worse than an end")]
    fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the machine gives random bytes");
        bytes
    }
}
