//! The simulator over many seeds. `SEEDS=n` runs so many, `SEED=n` one (`TAIL=n`: with so many lines of its trace
//! when it fails; `SHRINK=1`: its plan is written down and, if it fails, cut down to what it needs to fail),
//! `PLAN=file` a plan that was written down, `FIRST=n` begins elsewhere,
//! `LEVEL=calm|network|crashes|control|clocks|retention|copies` leaves the later faults out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of a test that reports what it did"
)]

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use trials::asked::{number, one_of};
use trials::sim::points::{Point, Reached};
use trials::sim::{Failure, Level, Plan, Report, Stats, TAIL_LINES, run, run_plan};

/// Seeds of every test run.
const SEEDS: u64 = 2_000;
/// Worlds tried towards one crash point until something dies there, unless more are asked for.
const RUNS_PER_POINT_MAX: u64 = 4;
/// Crash points that may be missed where no more worlds are asked for: those to which few lead.
const MISSED_MAX: usize = 12;
/// Where something died last at crash points to which few worlds lead: these worlds are run first. What then is missing
/// is looked for, and told as it is written here.
const LED: &[(&str, u64)] = &[
    ("hub:append-waits-for-a-section", 149),
    ("hub:section-asked", 88),
    ("hub:section-load-asked", 88),
    ("hub:section-loaded", 88),
    ("hub:section-append-asked", 88),
    ("hub:section-appended", 88),
    ("hub:plain-row-to-be-deleted", 10),
    ("before:remnants-taken", 15),
    ("after:remnants-taken", 9),
    ("before:start-anew", 352),
    ("after:start-anew", 352),
];
/// Threads; each seed's world is its own.
const THREADS: usize = 2;
/// Most runs with which a plan is cut down.
const SHRINK_RUNS_MAX: usize = 2_000;
/// Seeds that fail by bugs that docs/bugs.md lists as open. They run, count as failed, and are shown.
const OPEN: &[u64] = &[1364];
/// Failures shown.
const SHOWN_MAX: usize = 1;

fn level() -> Level {
    let words = "calm, network, crashes, control, clocks, retention, copies";
    one_of("LEVEL", words, Level::from_name).unwrap_or(Level::Copies)
}

fn run_all(first: u64, count: u64) -> (Vec<Report>, Vec<Failure>) {
    let next = AtomicU64::new(first);
    let reports = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run(seed, level(), TAIL_LINES) {
                        Ok(report) => reports.lock().unwrap().push(report),
                        Err(failure) => failures.lock().unwrap().push(*failure),
                    }
                }
            });
        }
    });
    let (mut reports, mut failures) = (reports.into_inner().unwrap(), failures.into_inner().unwrap());
    reports.sort_by_key(|report: &Report| report.seed);
    failures.sort_by_key(|failure: &Failure| failure.seed);
    (reports, failures)
}

fn reached(reports: &[Report]) -> Reached {
    reports.iter().fold(Reached::default(), |reached, report| reached.and(report.reached))
}

/// Writes a plan down and says how it is run again.
fn write_down(plan: &Plan, name: &str) -> String {
    let file = format!("target/plan-{name}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, plan.to_string()).unwrap();
    format!("make sim PLAN={file}")
}

/// Runs a world in which whoever comes to a point dies there, and notes which were reached.
fn die(point: Point, seed: u64, reached: &Mutex<Reached>) {
    let plan = Plan::towards(point, seed);
    match run_plan(&plan, TAIL_LINES) {
        Ok(report) => {
            let mut reached = reached.lock().unwrap();
            *reached = reached.and(report.reached);
        }
        Err(failure) => panic!("\n{failure}\n{}", write_down(&plan, &point.to_string().replace(':', "-"))),
    }
}

/// Looks for a world in which something dies at a point, and tells its seed. Whether there was one, or another had been
/// there already. `RUNS=n` tries so many worlds.
fn hunt(point: Point, reached: &Mutex<Reached>) -> bool {
    let seeds = (number("FIRST").unwrap_or(1)..).filter(|seed| Plan::may_lead(point, *seed));
    let runs = number("RUNS").unwrap_or(RUNS_PER_POINT_MAX);
    for (seed, _) in seeds.zip(0..runs) {
        if reached.lock().unwrap().holds(point) {
            return true;
        }
        die(point, seed, reached);
        if reached.lock().unwrap().holds(point) {
            println!("(\"{point}\", {seed}),");
            return true;
        }
    }
    false
}

/// Does something with each of many, on as many threads as there are.
fn with_each<T: Sync>(many: &[T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(one) = many.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(one);
                }
            });
        }
    });
}

fn print(reports: &[Report]) {
    let total = reports.len();
    for at in 0..Stats::default().named().len() {
        let name = Stats::default().named()[at].0;
        let counts = reports.iter().map(|report| report.stats.named()[at].1);
        let (with, sum) = counts.fold((0, 0), |(with, sum), n| (with + u64::from(n > 0), sum + n));
        println!("{with:>5} of {total} seeds with {name}, {sum} in all");
    }
    let pages = reports.iter().filter(|report| report.stats.pages_max >= 3).count();
    println!("{pages:>5} of {total} seeds with a catch-up of three pages or more");
    println!("{:>5} events in all", reports.iter().map(|report| report.steps).sum::<u64>());
}

/// The plan that was asked for alone, if one was.
fn asked() -> Option<Plan> {
    if let Some(file) = std::env::var("PLAN").ok().filter(|file| !file.is_empty()) {
        // Named from where `make` was called.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        return Some(Plan::read(&std::fs::read_to_string(root.join(file)).unwrap()).unwrap());
    }
    number("SEED").map(|seed| Plan::draw(seed, level()))
}

fn run_one(plan: &Plan) {
    let lines = number("TAIL").and_then(|n| usize::try_from(n).ok()).unwrap_or(TAIL_LINES);
    let failure = match run_plan(plan, lines) {
        Ok(report) => return println!("{report:#?}\n1 seeds, 1 passed"),
        Err(failure) => failure,
    };
    if number("SHRINK").is_some() {
        let smaller = plan.shrink(SHRINK_RUNS_MAX, |plan| run_plan(plan, 0).is_err());
        let what = run_plan(&smaller, lines).unwrap_err();
        println!("{smaller}{what}");
        let again = write_down(&smaller, &plan.seed.to_string());
        println!("{} of {} operations: {again}", smaller.operations.len(), plan.operations.len());
    }
    panic!("\n{failure}\n1 seeds, 0 passed");
}

#[test]
fn simulation_of_many_seeds() {
    if let Some(plan) = asked() {
        return run_one(&plan);
    }
    let (reports, failures) = run_all(number("FIRST").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS));
    print(&reports);
    for failure in failures.iter().take(SHOWN_MAX) {
        println!("{failure}");
    }
    for failure in &failures {
        println!("failed: seed {} at step {}: {}", failure.seed, failure.step, failure.what);
    }
    println!("{} seeds, {} passed", failures.len() + reports.len(), reports.len());
    let is_open = |failure: &Failure| OPEN.contains(&failure.seed);
    assert!(failures.iter().all(is_open), "seeds failed beside those of open bugs, {OPEN:?}");
    let all_three = reports.iter().filter(|report| report.stats.has_all_three()).count();
    println!("{all_three:>5} seeds with a conflict, a catch-up of three pages or more, and a gateway change");
    if level() >= Level::Network {
        assert!(all_three * 10 >= reports.len() * 3, "only {all_three} seeds had all three");
    }
    let by_luck = reached(&reports).missing().len();
    println!("crash points: {} of {} reached by luck", Point::all().count() - by_luck, Point::all().count());
}

#[test]
fn seeds_in_which_something_dies_at_each_crash_point() {
    if asked().is_some() {
        return;
    }
    let only = std::env::var("POINT").ok().and_then(|name| Point::named(&name));
    let is_asked = |point: Point| only.is_none_or(|only| only == point);
    let reached: Mutex<Reached> = Mutex::default();
    let led: Vec<(Point, u64)> = LED
        .iter()
        .map(|(name, seed)| (Point::named(name).unwrap(), *seed))
        .filter(|led| is_asked(led.0))
        .collect();
    with_each(&led, |(point, seed)| die(*point, *seed, &reached));
    let points: Vec<Point> = Point::all().filter(|point| is_asked(*point)).collect();
    let missed: Mutex<Vec<String>> = Mutex::default();
    with_each(&points, |point| {
        if !hunt(*point, &reached) {
            missed.lock().unwrap().push(point.to_string());
        }
    });
    let missed = missed.into_inner().unwrap();
    println!("crash points: {} of {} reached", points.len() - missed.len(), points.len());
    let missed_max = if number("RUNS").is_some() { 0 } else { MISSED_MAX };
    assert!(missed.len() <= missed_max, "nothing died at {missed:?}");
}

#[test]
fn a_plan_is_read_back_as_it_was_written_down() {
    let plan = Plan::draw(7, level());
    assert_eq!(Plan::read(&plan.to_string()), Ok(plan.clone()));
    for damaged in [
        "",
        "seed 7",
        "seed 7 level none",
        "seed 7 level calm\n5 dance 1",
        "seed 7 level calm\n5 tidy",
        "seed 7 level calm\n5 die hub:nowhere 1",
    ] {
        assert!(Plan::read(damaged).is_err(), "{damaged}");
    }
    let hash =
        |plan: &Plan| run_plan(plan, 0).map(|report| report.hash).map_err(|failure| failure.to_string());
    let again = Plan::read(&plan.to_string()).unwrap();
    assert_eq!(hash(&plan), hash(&again));
}

#[test]
fn one_seed_is_one_run() {
    for seed in [7, 8] {
        let (first, second) = (run(seed, level(), 0), run(seed, level(), 0));
        let hash =
            |run: Result<Report, Box<Failure>>| run.map(|report| report.hash).map_err(|f| f.to_string());
        assert_eq!(hash(first), hash(second));
    }
}
