//! Identity: what an agent is at one moment, how stable it is, and whether that can be believed.
//!
//! A snapshot is kept as the JSON it came as, unknown fields included; the modules below read what they know of it.

pub mod agreement;
pub mod cadence;
pub mod consensus;
pub mod divergence;
pub mod event;
pub mod intake;
pub mod profile;
pub mod reach;
pub mod resolve;
pub mod rollback;
pub mod score;
pub mod shape;
pub mod snapshot;
pub mod summary;
pub mod trend;
pub mod validate;
pub mod vote;

/// Name of the kind of identities.
pub const KIND: &str = "identity";

/// Decimal places that scores are given with: more than any input has, fewer than binary arithmetic blurs.
const DECIMALS: f64 = 1e9;

/// A score without the noise of binary arithmetic, so that 0.8 × 0.4 + 0.5 is written 0.82.
fn rounded(score: f64) -> f64 {
    (score * DECIMALS).round() / DECIMALS
}
