//! The hub's bounds, told to spokes in Welcome. Zero never means unlimited.

use semantics::clock::CLOCK_AHEAD_MS_MAX;
use semantics::envelope::{BODY_BYTES_MAX, GROUP_BYTES_MAX, GROUP_MUTATIONS_MAX};
use semantics::session::{Limits, MESSAGE_BYTES_MAX, PUSH_BYTES_MAX, UNANSWERED_MAX};
use semantics::version::VERSION_WRITERS_KEPT;

/// Most mutations in one commit.
pub const COMMIT_MUTATIONS_MAX: usize = 1024;
/// While a commit is written the next one is decided, once so many mutations wait for it, and half as many as the one under
/// way has rows: fewer cost less decided together with those that come meanwhile.
pub const AHEAD_MUTATIONS_MIN: usize = 64;
/// After so many pushes were answered at once, the next commit waits for them to come back.
pub const GATHER_WORKS_MIN: usize = 4;
/// Until so many mutations wait at most.
pub const GATHER_MUTATIONS_MAX: usize = 64;
/// And for so long at most, milliseconds: a runtime's timers know none shorter.
pub const GATHER_MS: u64 = 1;
/// Most work items that wait for one tenant's committer.
pub const QUEUE_MAX: usize = 4096;
/// Most bytes of mutations that wait for one tenant's committer; one push may pass it.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of what waits so many bytes are decided together, by the same count; one push may pass it. What is refused takes no room
/// in a commit, and is looked at all the same.
pub const TOGETHER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most records a gateway keeps in memory for deciding, for one tenant.
pub const CACHE_RECORDS_MAX: usize = 20_000;
/// Most bytes of records a gateway keeps in memory for deciding, for one tenant.
pub const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most writers a gateway keeps in memory for one tenant.
pub const CACHE_WRITERS_MAX: usize = 20_000;
/// Most cells whose hash (2 KiB) a gateway keeps in memory for one tenant.
pub const CACHE_CELLS_MAX: usize = 4_096;
/// Most answered dots a gateway keeps in memory for one tenant.
pub const CACHE_ANSWERS_MAX: usize = 20_000;
/// Most committed bytes kept for live readers of one tenant.
pub const RING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most batches kept for live readers of one tenant.
pub const RING_BATCHES_MAX: usize = 4096;
/// Most bytes that the ring's batches take once they are put together for readers, for one tenant; the oldest are
/// put together anew for those who still ask.
pub const RING_PARTS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of pages that a gateway keeps for other readers of the same log, with what was put together of them.
pub const STRETCHES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A page is given to other readers for so long, milliseconds.
pub const STRETCH_MS_MAX: u64 = 30_000;
/// Where a log has so many revisions, who begins from nothing is sent by its records' latest: some pages.
pub const LATEST_FROM: u64 = 4_000;
/// Most records of a log whose latest revisions are kept for readers that begin from nothing: 8 MiB.
pub const LATEST_RECORDS_MAX: usize = 1_048_576;
/// Most tenants of which a gateway keeps them.
pub const LATEST_TENANTS_MAX: usize = 4;
/// They are kept for so long without use, milliseconds.
pub const LATEST_UNUSED_MS_MAX: u64 = 30_000;
/// Those of one tenant are read anew no sooner than this, milliseconds.
pub const LATEST_AGAIN_MS: u64 = 5_000;
/// A live reader gets a batch whole when it is no larger than so many of its shares (a commit ends with the element
/// with which it passes one); what is more goes in pages.
pub const LIVE_SHARES: usize = 2;
/// Most bytes of changes that go to a live reader in one message; what is more goes in pages.
pub const LIVE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Most epochs of one node that are open at once.
pub const EPOCHS_OPEN_MAX: usize = 8;
/// Most changes of one view that a catch-up may span; who stands before more begins anew.
pub const FORMER_VIEWS_MAX: usize = 256;
/// Most pages of catch-ups put together at once on one gateway: each is held in full until its lease is written.
pub const PAGES_AT_ONCE_MAX: usize = 16;
/// A resume position is kept alive for at least this long after each page, milliseconds.
pub const LEASE_MS: u64 = 60_000;
/// A lease is written for this long, milliseconds, so that not every page needs to write one.
pub const LEASE_WRITTEN_MS: u64 = 2 * LEASE_MS;
/// A resume position is kept alive no longer than this after its first page, milliseconds. What comes later goes on as
/// long as nothing was pruned that it needs.
pub const LEASE_TOTAL_MS_MAX: u64 = 3_600_000;
/// Most leases of one node; what its catch-ups beyond it need is joined.
pub const LEASES_PER_NODE_MAX: u8 = 16;
/// A live reader to whom nothing is sent is told where the log stands this often, milliseconds.
pub const PROGRESS_MS: u64 = 5_000;
/// A live reader gets a digest to compare with this often, milliseconds: all of them at the same times.
pub const DIGEST_MS: u64 = 10_000;
/// The cells of a tenant are read for live readers' digests this often at most, milliseconds.
pub const SUM_EVERY_MS: u64 = 100;
/// And are kept for those who still ask for so long, milliseconds.
pub const SUM_KEPT_MS: u64 = 2_000;
/// Another gateway's commits are looked for this often, milliseconds.
pub const POLL_MS: u64 = 200;

/// A gateway that looked after a tenant is the one to do it again for so long, milliseconds.
pub const KEEPER_MS: u64 = 90_000;

/// What one gateway holds for one tenant, and how long it leases: those of this module, but for tests that want to
/// come to them. None is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// As [`QUEUE_MAX`].
    pub queue_max: usize,
    /// As [`AHEAD_MUTATIONS_MIN`].
    pub ahead_mutations_min: usize,
    /// As [`RING_BATCHES_MAX`].
    pub ring_batches_max: usize,
    /// As [`GATHER_WORKS_MIN`].
    pub gather_works_min: usize,
    /// As [`LEASE_MS`]; a lease is written for twice as long.
    pub lease_ms: u64,
    /// As [`KEEPER_MS`].
    pub keeper_ms: u64,
    /// As [`VERSION_WRITERS_KEPT`]; every gateway of a database has the same.
    pub version_writers_kept: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queue_max: QUEUE_MAX,
            ahead_mutations_min: AHEAD_MUTATIONS_MIN,
            gather_works_min: GATHER_WORKS_MIN,
            ring_batches_max: RING_BATCHES_MAX,
            lease_ms: LEASE_MS,
            keeper_ms: KEEPER_MS,
            version_writers_kept: VERSION_WRITERS_KEPT,
        }
    }
}

impl Bounds {
    /// For how long a lease is written, milliseconds; as [`LEASE_WRITTEN_MS`].
    #[must_use]
    pub const fn lease_written_ms(&self) -> u64 {
        self.lease_ms.saturating_mul(2)
    }
}

/// The bounds told to spokes.
#[must_use]
pub fn told() -> Limits {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Limits {
        body_bytes_max: wide(BODY_BYTES_MAX),
        message_bytes_max: wide(MESSAGE_BYTES_MAX),
        push_bytes_max: wide(PUSH_BYTES_MAX),
        unanswered_max: UNANSWERED_MAX,
        group_mutations_max: wide(GROUP_MUTATIONS_MAX),
        group_bytes_max: wide(GROUP_BYTES_MAX),
        clock_ahead_ms_max: CLOCK_AHEAD_MS_MAX,
    }
}
