//! The simulator over many seeds. `SEEDS=n` runs so many, `SEED=n` one (`TAIL=n`: with so many lines of its trace when it fails), `FIRST=n`
//! begins elsewhere, `LEVEL=calm|network|crashes|control|clocks|retention|copies` leaves the later faults out.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of a test that reports what it did")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trials::sim::{Failure, Level, Report, Stats, TAIL_LINES, run};

/// Seeds of every test run.
const SEEDS: u64 = 300;
/// Threads; each seed's world is its own.
const THREADS: usize = 2;
/// Failures shown.
const SHOWN_MAX: usize = 1;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn level() -> Level {
    std::env::var("LEVEL").ok().and_then(|name| Level::from_name(&name)).unwrap_or(Level::Copies)
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

#[test]
fn simulation_of_300_seeds() {
    if let Some(seed) = number("SEED") {
        let lines = number("TAIL").and_then(|n| usize::try_from(n).ok()).unwrap_or(TAIL_LINES);
        match run(seed, level(), lines) {
            Ok(report) => println!("{report:#?}\n1 seeds, 1 passed"),
            Err(failure) => panic!("\n{failure}\n1 seeds, 0 passed"),
        }
        return;
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
    assert!(failures.is_empty(), "seeds failed");
    let all_three = reports.iter().filter(|report| report.stats.has_all_three()).count();
    println!("{all_three:>5} seeds with a conflict, a catch-up of three pages or more, and a gateway change");
    if level() >= Level::Network {
        assert!(all_three * 10 >= reports.len() * 3, "only {all_three} seeds had all three");
    }
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
