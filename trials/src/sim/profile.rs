//! What a seed's world is like: how large, and what goes wrong in it.

use gateway::hub::limits::{Bounds, LEASE_MS};

use super::exec::StoreFaults;
use super::rng::Rng;

/// Which faults a run may have; each level has those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One gateway, nothing goes wrong.
    Calm,
    /// Two gateways, connections are cut, messages late and repeated.
    Network,
    /// Gateways and spokes are killed, stores fail.
    Crashes,
    /// Views change, nodes are revoked, kinds change.
    Control,
    /// Clocks are wrong, quotas refuse.
    Clocks,
    /// The log is pruned, epochs expire.
    Retention,
    /// Replicas are copied and restored.
    Copies,
}

impl Level {
    /// Every level, the least first.
    pub const ALL: [Self; 7] = [
        Self::Calm,
        Self::Network,
        Self::Crashes,
        Self::Control,
        Self::Clocks,
        Self::Retention,
        Self::Copies,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Network => "network",
            Self::Crashes => "crashes",
            Self::Control => "control",
            Self::Clocks => "clocks",
            Self::Retention => "retention",
            Self::Copies => "copies",
        }
    }

    /// By name, for replaying with less.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Silence that no run lasts, nor the wrongest clock: milliseconds.
pub const EXPIRY_NEVER_MS: u64 = 3_600_000_000;

/// What a seed does.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// What may go wrong at all.
    pub level: Level,
    /// Tenants.
    pub tenants: usize,
    /// Gateways.
    pub gateways: usize,
    /// Nodes of each tenant.
    pub nodes: usize,
    /// How long things go wrong, milliseconds.
    pub chaos_ms: u64,
    /// Between two uses of one machine, milliseconds.
    pub write_ms_max: u64,
    /// Rows of a page.
    pub page_rows: usize,
    /// Credit a spoke grants, bytes.
    pub credit_bytes: u64,
    /// Longest way of a message, milliseconds.
    pub latency_ms_max: u64,
    /// Between two troubles, milliseconds; zero = no troubles.
    pub trouble_ms_max: u64,
    /// How often a spoke dies between two actions, in ten thousand.
    pub spoke_crash: u64,
    /// What the store does.
    pub store: StoreFaults,
    /// Newest revisions that are kept.
    pub revisions_min: u64,
    /// Silence after which a writer is closed, milliseconds.
    pub expiry_ms: u64,
    /// As the hub's retention.
    pub settled_ms: u64,
    /// Whether the hub is backed up from the beginning.
    pub has_backups: bool,
    /// How often quotas refuse, in a thousand.
    pub quota: u64,
    /// How much waits for a committer, how long the ring is, and how long gateways lease: small in some worlds, so that
    /// queues are full and leases end.
    pub bounds: Bounds,
    /// Whether everybody writes at the same moments, to a hub whose store is slow.
    pub is_crowded: bool,
    /// Most messages on their way to one spoke: then its session waits.
    pub outgoing_max: usize,
    /// Longest time that a gateway stands still, milliseconds.
    pub standstill_ms_max: u64,
}

/// Messages on their way to one spoke where nothing is scarce.
const OUTGOING_MAX: usize = 64;

/// How often a call of the store is slow where everybody writes at once, in a thousand.
const CROWDED_SLOW: u64 = 120;

fn draw_bounds(rng: &mut Rng, level: Level) -> Bounds {
    let mut bounds = Bounds { ahead_mutations_min: 1, gather_works_min: 1, ..Bounds::default() };
    if level >= Level::Network && rng.permille(300) {
        bounds.ring_batches_max = usize::try_from(rng.range(1, 3)).unwrap_or(1);
    }
    if level >= Level::Retention && rng.permille(400) {
        bounds.lease_ms = rng.range(300, 3_000);
        bounds.keeper_ms = rng.range(500, 4_000);
    }
    if rng.permille(500) {
        bounds.version_writers_kept = usize::try_from(rng.range(1, 4)).unwrap_or(1);
    }
    bounds
}

impl Profile {
    /// Whether leases end within the run.
    #[must_use]
    pub fn has_short_leases(&self) -> bool {
        self.bounds.lease_ms < LEASE_MS
    }

    /// From how many revisions on who begins from nothing is sent by the records' latest: a page, in half of the worlds with short
    /// pages. In the others pages are shared with whoever follows.
    #[must_use]
    pub fn latest_from(&self) -> u64 {
        if self.page_rows.is_multiple_of(2) {
            u64::MAX
        } else {
            u64::try_from(self.page_rows).unwrap_or(u64::MAX)
        }
    }

    /// Draws one.
    #[must_use]
    pub fn draw(rng: &mut Rng, level: Level) -> Self {
        let has_network = level >= Level::Network;
        let chance = |rng: &mut Rng, permille: u64, of: u64| if rng.permille(permille) { of } else { 0 };
        let store = StoreFaults {
            unavailable: chance(rng, 400, 4),
            unknown_done: chance(rng, 500, 20),
            unknown_lost: chance(rng, 300, 15),
            unknown_late: chance(rng, 300, 15),
            slow: chance(rng, 300, 15),
        };

        let is_pruned = level >= Level::Retention && rng.permille(600);
        let mut bounds = draw_bounds(rng, level);
        let is_crowded = level >= Level::Crashes && rng.permille(250);
        if is_crowded {
            bounds.queue_max = 1;
        }
        let is_scarce = has_network && rng.permille(400);
        Self {
            level,
            tenants: if rng.permille(150) { 2 } else { 1 },
            gateways: if has_network { 2 } else { 1 },
            nodes: usize::try_from(rng.range(3, 5)).unwrap_or(3),
            // Many short runs find more than few long ones; some troubles need time.
            chaos_ms: if rng.permille(250) { rng.range(8_000, 25_000) } else { rng.range(3_000, 9_000) },
            write_ms_max: rng.range(300, 2_500),
            page_rows: if rng.permille(750) { usize::try_from(rng.range(2, 12)).unwrap_or(4) } else { 1_000 },
            credit_bytes: if rng.permille(300) { rng.range(500, 5_000) } else { 4 * 1024 * 1024 },
            latency_ms_max: rng.range(1, 80),
            trouble_ms_max: if has_network { rng.range(300, 1_500) } else { 0 },
            spoke_crash: if level >= Level::Crashes { chance(rng, 600, 15) } else { 0 },
            store: match level >= Level::Crashes {
                true if is_crowded => StoreFaults { slow: CROWDED_SLOW, ..store },
                true => store,
                false => StoreFaults::default(),
            },
            revisions_min: if is_pruned { rng.range(3, 30) } else { 10_000 },
            expiry_ms: if is_pruned { rng.range(1_500, 8_000) } else { EXPIRY_NEVER_MS },
            settled_ms: if is_pruned { rng.range(1_000, 8_000) } else { EXPIRY_NEVER_MS },
            has_backups: level >= Level::Copies && rng.permille(700),
            quota: if level >= Level::Clocks { chance(rng, 400, 100) } else { 0 },
            bounds,
            is_crowded,
            outgoing_max: if is_scarce {
                usize::try_from(rng.range(1, 3)).unwrap_or(1)
            } else {
                OUTGOING_MAX
            },
            // Past every lease where those are short.
            standstill_ms_max: if bounds.lease_ms < LEASE_MS { 9_000 } else { 3_000 },
        }
    }
}
