//! What is done to a world: operations drawn before it begins, each with its time and a luck of its own, so that
//! leaving some out leaves the others what they are. A plan can be written down, cut down and read back.

use std::fmt;

use super::chaos::MACHINES_MAX;
use super::points::{Act, At, Point};
use super::profile::{EXPIRY_NEVER_MS, Level, Profile};
use super::rng::Rng;

/// The troubles begin so late, milliseconds.
const TROUBLE_FROM_MS: u64 = 500;
/// The hub tidies up so late for the first time, milliseconds.
const TIDY_FROM_MS: u64 = 2_000;

/// Traps are set from then on, milliseconds.
const TRAP_FROM_MS: u64 = 200;
/// Everybody writes all the time until then, milliseconds.
const CONTENDED_MS: u64 = 4_000;
/// How many worlds have a hub whose old disk is put back unsaid, in a thousand.
const ROLLBACK_PERMILLE: u64 = 120;
/// How many worlds in which nodes expire have gateways whose clocks jump, in a thousand.
const JUMPS_PERMILLE: u64 = 250;

/// How many worlds with short pages have records that go to and fro, in a thousand.
const FERRIES_PERMILLE: u64 = 350;
/// They go from then on, milliseconds.
const FERRY_FROM_MS: u64 = 800;
/// How many worlds have nodes that come late, in a thousand.
const NEWCOMERS_PERMILLE: u64 = 200;
/// The same where the hub's old disk is put back.
const NEWCOMERS_ROLLBACK_PERMILLE: u64 = 700;
/// They come from then on, milliseconds.
const NEWCOMERS_FROM_MS: u64 = 1_000;

/// A catch-up with fewer rows in a page takes several, and leases where it stands.
const ROWS_OF_SHORT_PAGES: usize = 100;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Somebody uses this machine, if there is one.
    Use(usize),
    /// Something goes wrong, or an operator does something.
    Trouble,
    /// A gateway tidies up.
    Tidy,
    /// Whoever comes to this crash point next dies there.
    Die(Point),
    /// The hub is backed up, and its old disk put back, unsaid, as soon as a spoke has heard of what it lacks and
    /// stands before it.
    Rollback,
    /// A gateway's clock jumps, past the time after which silent nodes expire or far back, and is right again a moment
    /// later.
    Jump,
    /// Somebody moves the same few records to and fro, while those who read them lag.
    Ferry,
    /// Nodes are registered, and read from nothing.
    Newcomers,
}

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// When, milliseconds since the world's start.
    pub at_ms: u64,
    /// What.
    pub what: What,
    /// Everything else about it.
    pub luck: u64,
}

/// A run that can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Luck of everything but the operations.
    pub seed: u64,
    /// What may go wrong at all.
    pub level: Level,
    /// In the order of their times.
    pub operations: Vec<Operation>,
}

impl Plan {
    /// What a seed does.
    #[must_use]
    pub fn draw(seed: u64, level: Level) -> Self {
        let (profile, mut rng) = Self::begin(seed, level);
        let mut rng = rng.fork();
        let mut plan = Self::draw_steady(seed, level);
        if profile.expiry_ms < EXPIRY_NEVER_MS && rng.permille(JUMPS_PERMILLE) {
            plan.repeat(&mut rng, What::Jump, TIDY_FROM_MS, (800, 4_000), profile.chaos_ms);
        }
        plan.draw_readers(&mut rng, &profile);
        plan.operations.sort_by_key(|operation| operation.at_ms);
        plan
    }

    /// Readers who lag behind what moves, and readers who come late: pages that several of them are given.
    fn draw_readers(&mut self, rng: &mut Rng, profile: &Profile) {
        if self.level < Level::Network {
            return;
        }
        if profile.page_rows < ROWS_OF_SHORT_PAGES && rng.permille(FERRIES_PERMILLE) {
            self.repeat(rng, What::Ferry, FERRY_FROM_MS, (2_000, 6_000), profile.chaos_ms);
        }
        let is_rolled_back = self.operations.iter().any(|operation| operation.what == What::Rollback);
        let (permille, every) = match is_rolled_back {
            true => (NEWCOMERS_ROLLBACK_PERMILLE, (600, 2_500)),
            false => (NEWCOMERS_PERMILLE, (1_500, 6_000)),
        };
        if rng.permille(permille) {
            self.repeat(rng, What::Newcomers, NEWCOMERS_FROM_MS, every, profile.chaos_ms);
        }
    }

    /// What a seed does where the clocks of gateways do not jump, nothing is ferried and nobody comes late.
    fn draw_steady(seed: u64, level: Level) -> Self {
        let (profile, mut rng) = Self::begin(seed, level);
        let mut rng = rng.fork();
        let mut plan = Self { seed, level, operations: Vec::new() };
        for machine in 0..MACHINES_MAX {
            let from_ms = if rng.permille(250) { rng.range(1_000, 15_000) } else { rng.range(1, 500) };
            plan.repeat(&mut rng, What::Use(machine), from_ms, (5, profile.write_ms_max), profile.chaos_ms);
        }
        if profile.trouble_ms_max > 0 {
            let every = (20, profile.trouble_ms_max);
            plan.repeat(&mut rng, What::Trouble, TROUBLE_FROM_MS, every, profile.chaos_ms);
        }
        if level >= Level::Retention {
            plan.repeat(&mut rng, What::Tidy, TIDY_FROM_MS, (500, 5_000), profile.chaos_ms);
        }
        if level >= Level::Copies && rng.permille(ROLLBACK_PERMILLE) {
            let at_ms = rng.range(TROUBLE_FROM_MS, profile.chaos_ms);
            plan.operations.push(Operation { at_ms, what: What::Rollback, luck: rng.next() });
        }
        if profile.is_crowded {
            let mut at_ms = TROUBLE_FROM_MS;
            while at_ms < profile.chaos_ms {
                let uses = (0..MACHINES_MAX).map(What::Use);
                plan.operations.extend(uses.map(|what| Operation { at_ms, what, luck: rng.next() }));
                at_ms += rng.range(200, 2_000);
            }
        }
        plan.operations.sort_by_key(|operation| operation.at_ms);
        plan
    }

    /// What a seed does, while whoever comes to a crash point dies there, again and again.
    #[must_use]
    pub fn towards(point: Point, seed: u64) -> Self {
        let mut plan = Self::draw_steady(seed, Level::Copies);
        let (profile, _) = Self::begin(seed, plan.level);
        let mut rng = Rng::new(seed);
        plan.repeat(&mut rng, What::Die(point), TRAP_FROM_MS, (200, 1_000), profile.chaos_ms);
        if is_contended(point) {
            // Whoever loses two races in a row asks for a section.
            for machine in 0..MACHINES_MAX {
                plan.repeat(&mut rng, What::Use(machine), 500, (5, 60), CONTENDED_MS.min(profile.chaos_ms));
            }
        }
        if is_expired(point) || is_ended(point) {
            plan.repeat(&mut rng, What::Tidy, TRAP_FROM_MS, (100, 500), profile.chaos_ms);
        }
        plan.operations.sort_by_key(|operation| operation.at_ms);
        plan
    }

    /// Whether a seed's world is likely to lead to a crash point: some need a log that is pruned before somebody has
    /// read it, gateways that come in each other's way, or leases that end.
    #[must_use]
    pub fn may_lead(point: Point, seed: u64) -> bool {
        let (profile, _) = Self::begin(seed, Level::Copies);
        let is_pruned = profile.expiry_ms < profile.chaos_ms / 3 && profile.revisions_min < 10;
        let is_slow = profile.store.slow > 0 && profile.tenants == 1;
        let ends = profile.has_short_leases() && 3 * profile.bounds.lease_written_ms() < profile.chaos_ms;
        (is_pruned || !is_expired(point))
            && (is_slow || !is_contended(point))
            && (ends && profile.page_rows < ROWS_OF_SHORT_PAGES || !is_ended(point))
    }

    /// When its last operation is done, milliseconds.
    #[must_use]
    pub fn end_ms(&self) -> u64 {
        self.operations.iter().map(|operation| operation.at_ms).max().unwrap_or_default()
    }

    /// The world of a seed, and its luck from there on.
    #[must_use]
    pub fn begin(seed: u64, level: Level) -> (Profile, Rng) {
        let mut rng = Rng::new(seed);
        (Profile::draw(&mut rng, level), rng)
    }

    fn repeat(&mut self, rng: &mut Rng, what: What, from_ms: u64, every: (u64, u64), until_ms: u64) {
        let mut at_ms = from_ms;
        while at_ms < until_ms {
            self.operations.push(Operation { at_ms, what, luck: rng.next() });
            at_ms += rng.range(every.0, every.1);
        }
    }

    /// Reads a plan back.
    ///
    /// # Errors
    /// The line that is none of a plan.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split_whitespace();
        let head = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("seed"), Some(seed), Some("level"), Some(level)) => {
                seed.parse().ok().zip(Level::from_name(level))
            }
            _ => None,
        };
        let (seed, level) = head.ok_or_else(|| format!("not the first line of a plan: {first}"))?;
        let lines = lines.filter(|line| !line.trim().is_empty());
        let operations = lines.map(|line| operation(line).ok_or_else(|| format!("not an operation: {line}")));
        Ok(Self { seed, level, operations: operations.collect::<Result<_, _>>()? })
    }

    /// A smaller plan that still fails: operations are left out, many at once and then fewer, for as long as what is
    /// left fails. At most so many runs.
    #[must_use]
    pub fn shrink(&self, runs_max: usize, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut smallest = self.clone();
        let mut size = smallest.operations.len() / 2;
        let mut runs = 0;
        while size > 0 && runs < runs_max {
            let (mut at, mut has_shrunk) = (0, false);
            while at < smallest.operations.len() && runs < runs_max {
                let mut tried = smallest.clone();
                let to = (at + size).min(tried.operations.len());
                drop(tried.operations.drain(at..to));
                runs += 1;
                if fails(&tried) {
                    (smallest, has_shrunk) = (tried, true);
                } else {
                    at = to;
                }
            }
            if size > 1 || !has_shrunk {
                size /= 2;
            }
        }
        smallest
    }
}

fn is_contended(point: Point) -> bool {
    use At::{Exclusive, SectionAppend, SectionAppended, SectionLoad, SectionLoaded, Turn};
    let sections = [Turn, Exclusive, SectionLoad, SectionLoaded, SectionAppend, SectionAppended];
    sections.into_iter().any(|at| point == Point::Hub(at))
}

fn is_expired(point: Point) -> bool {
    matches!(point, Point::Spoke(_, Act::Rebootstrap | Act::GiveUp))
}

/// Nothing is deleted before a lease has ended.
fn is_ended(point: Point) -> bool {
    point == Point::Hub(At::PlainDelete)
}

fn operation(line: &str) -> Option<Operation> {
    let mut words = line.split_whitespace();
    let at_ms = words.next()?.parse().ok()?;
    let what = match words.next()? {
        "use" => What::Use(words.next()?.parse().ok()?),
        "trouble" => What::Trouble,
        "tidy" => What::Tidy,
        "die" => What::Die(Point::named(words.next()?)?),
        "rollback" => What::Rollback,
        "jump" => What::Jump,
        "ferry" => What::Ferry,
        "newcomers" => What::Newcomers,
        _ => return None,
    };
    let luck = words.next()?.parse().ok()?;
    words.next().is_none().then_some(Operation { at_ms, what, luck })
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_ms, luck, .. } = self;
        match self.what {
            What::Use(machine) => write!(f, "{at_ms} use {machine} {luck}"),
            What::Trouble => write!(f, "{at_ms} trouble {luck}"),
            What::Tidy => write!(f, "{at_ms} tidy {luck}"),
            What::Die(point) => write!(f, "{at_ms} die {point} {luck}"),
            What::Rollback => write!(f, "{at_ms} rollback {luck}"),
            What::Jump => write!(f, "{at_ms} jump {luck}"),
            What::Ferry => write!(f, "{at_ms} ferry {luck}"),
            What::Newcomers => write!(f, "{at_ms} newcomers {luck}"),
        }
    }
}

/// One line each: seed and level, then the operations.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} level {}", self.seed, self.level.name())?;
        self.operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}
