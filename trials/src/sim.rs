//! The simulator: hubs and spokes over memory stores, under virtual time, with everything that can go wrong between
//! them drawn from one seed. Nothing here knows real time, threads or a runtime; one seed is one run, for ever.

mod answers;
pub mod app;
pub mod chaos;
pub mod checks;
pub mod clock;
pub mod exec;
pub mod ferry;
pub mod fuse;
pub mod heal;
pub mod hubs;
mod jump;
pub mod kept;
pub mod machine;
mod names;
mod newcomers;
pub mod oracle;
pub mod plan;
pub mod points;
pub mod profile;
mod refusals;
pub mod report;
pub mod restore;
pub mod rng;
mod rules;
pub mod session;
mod settle;
mod stamps;
pub mod store;
pub mod world;

pub use plan::Plan;
pub use profile::Level;
pub use report::{Failure, Report, Stats, TAIL_LINES};

use report::Trace;
use world::{Event, World};

/// Runs one seed; a failure shows so many lines of its trace.
///
/// # Errors
/// The first thing found wrong, with what led to it.
pub fn run(seed: u64, level: Level, tail_lines: usize) -> Result<Report, Box<Failure>> {
    run_plan(&Plan::draw(seed, level), tail_lines)
}

/// Runs one plan.
///
/// # Errors
/// As [`run`].
pub fn run_plan(plan: &Plan, tail_lines: usize) -> Result<Report, Box<Failure>> {
    let (seed, (profile, rng)) = (plan.seed, Plan::begin(plan.seed, plan.level));
    let until_ms = profile.chaos_ms.max(plan.end_ms());
    let mut world = World::new(profile, rng, Trace::new(tail_lines));
    plan.operations.iter().for_each(|operation| world.at(operation.at_ms, Event::Operation(*operation)));
    world.note(|| format!("seed {seed}: {profile:?}"));
    let done = world.set_up().and_then(|()| world.run_until(until_ms)).and_then(|()| world.heal());
    let World { steps, trace, mut stats, mut reached, ctx, conns, .. } = world;
    stats.full_outgoing = conns.values().map(|conn| conn.inbox.was_full()).sum();
    ctx.lock().crashed.iter().for_each(|at| reached.hub(*at));
    match done {
        Ok(()) => Ok(Report { seed, stats, hash: trace.hash(), steps, reached }),
        Err(what) => Err(Box::new(Failure { seed, step: steps, what, tail: trace.tail() })),
    }
}
