//! Time and randomness, as parameters. The only file of this crate that touches the real ones.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

/// Ends once some time has passed.
pub type Passing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Wall-clock time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
    /// Ends once so many milliseconds have passed; at once by a clock that only a test turns.
    fn passes(&self, _ms: u64) -> Passing {
        Box::pin(ready(()))
    }
}

/// Randomness that nobody outside can guess.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Sixteen random bytes.
    fn bytes16(&self) -> [u8; 16];
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where wall time enters the hub")]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn passes(&self, ms: u64) -> Passing {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }
}

/// The machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(clippy::disallowed_methods, reason = "the one place where randomness enters the hub")]
    fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Without randomness ids and salts would repeat: nothing may go on.
            std::process::abort();
        }
        bytes
    }
}

/// Measures how long something took; decides nothing.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "the one place where measured time enters the hub")]
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }
    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
