//! Bounds and times of the sync machine.

use semantics::endpoint::{PROBE_MS, STAY_MS};

/// Bounds and times of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How many endpoints there are, at least 1, in the order of preference: see [`semantics::endpoint`].
    pub endpoints: usize,
    /// Seed of the jitter.
    pub seed: u64,
    /// Bytes of changes taken before more are granted.
    pub credit_bytes: u64,
    /// Between pings, milliseconds.
    pub ping_ms: u64,
    /// Without a word from the hub for so long, the connection is dead, milliseconds.
    pub dead_peer_ms: u64,
    /// For connection and welcome together, milliseconds.
    pub greeting_ms: u64,
    /// For the answer to a push or a unary call, milliseconds.
    pub answer_ms: u64,
    /// Acknowledgements are gathered for so long, milliseconds.
    pub ack_ms: u64,
    /// Between measurements of several endpoints, milliseconds.
    pub measure_ms: u64,
    /// A session stands at least so long before it moves to a better endpoint, milliseconds.
    pub stay_ms: u64,
    /// First delay before connecting again, milliseconds.
    pub backoff_min_ms: u64,
    /// Longest delay before the breaker opens, milliseconds.
    pub backoff_max_ms: u64,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// Between attempts while the breaker is open, milliseconds.
    pub breaker_open_ms: u64,
    /// Before a push is tried again that the hub answered with nothing, milliseconds.
    pub stall_ms: u64,
    /// Before a hub whose log forked is asked again whether it takes back what it lost, milliseconds.
    pub probe_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: 1,
            seed: 0,
            credit_bytes: 4 * 1024 * 1024,
            ping_ms: 15_000,
            dead_peer_ms: 45_000,
            greeting_ms: 15_000,
            answer_ms: 30_000,
            ack_ms: 200,
            measure_ms: PROBE_MS,
            stay_ms: STAY_MS,
            backoff_min_ms: 200,
            backoff_max_ms: 30_000,
            breaker_failures: 12,
            breaker_open_ms: 60_000,
            stall_ms: 1_000,
            probe_ms: 5_000,
        }
    }
}
