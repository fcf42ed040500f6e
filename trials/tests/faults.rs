//! Planted faults against the simulator: each breaks one promise of the product, and some check must notice. Ends
//! with \"N planted, N caught\". `FAULT=name` plants one alone, `SEEDS=n` tries so many seeds for each.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that reports what it did")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use semantics::fault::Fault;
use trials::asked::number;
use trials::sim::plan::What;
use trials::sim::{Failure, Level, Plan, run, run_plan};

/// Worlds tried for one fault.
const SEEDS: u64 = 600;
/// Runs in which a failing plan is cut down.
const SHRINK_RUNS_MAX: usize = 60;
/// Threads; each seed's world is its own.
const THREADS: usize = 2;

/// Where a fault was noticed last: this seed is tried first. When the worlds have changed and nothing is noticed there
/// any more, the others are.
const NOTICED: &[(Fault, u64)] = &[
    (Fault::RevisionFromSequence, 3),
    (Fault::CursorBeforeApply, 7),
    (Fault::AnswerBeforeCommit, 1),
    (Fault::DuplicateByDomination, 3),
    (Fault::OutcomeForgotten, 30),
    (Fault::EntryDroppedAtAnswer, 1),
    (Fault::PageEndAsCursor, 1),
    (Fault::LeasesIgnored, 3),
    (Fault::RingGapNotRead, 3),
    (Fault::RingJoinedLate, 20),
    (Fault::GrowthNotBackfilled, 8),
    (Fault::ShrunkViewKept, 11),
    (Fault::DepartureToAll, 3),
    (Fault::CacheOverMiss, 3),
    (Fault::ComparedByRevision, 9),
    (Fault::UnsentAppliedTwice, 15),
    (Fault::TimeFollowsStamps, 8),
    (Fault::HorizonPassesReaders, 37),
    (Fault::EpochsCloseEachOther, 8),
    (Fault::GroupSplit, 3),
    (Fault::CauseNotCarried, 3),
    (Fault::MergeWithoutDot, 1),
    (Fault::TiesByArrival, 5),
    (Fault::UnknownAsFailed, 5),
    (Fault::SupersededInDigest, 1),
    (Fault::DotsNotStored, 1),
    (Fault::HeldRowPruned, 20),
    (Fault::LogIdKept, 14),
    (Fault::LossTakenForCopy, 39),
    (Fault::ResumeNotCompared, 477),
    (Fault::TopologyIgnored, 29),
    (Fault::PriorityBeforeCause, 3),
    (Fault::StaleDecisionTaken, 161),
    (Fault::UndoLeavesRecord, 38),
    (Fault::PolicySetIgnored, 11),
    (Fault::RuleVersionLost, 2),
    (Fault::CollapsedOverHealthy, 3),
    (Fault::UnsoundOverSound, 10),
    (Fault::PrecedentOfAnotherKind, 236),
    (Fault::PrecedentOfAnotherTenant, 1534),
    (Fault::SilenceTakenForAnswer, 254),
    (Fault::EpochKeptByCopy, 9),
    (Fault::StretchBeforeFloor, 39),
    (Fault::StretchOfOtherChain, 323),
    (Fault::StretchBeforeView, 9),
    (Fault::DepartureBeforeReader, 6),
    (Fault::RingOfOtherChain, 79),
    (Fault::ClockBackFollowed, 2),
    (Fault::GoodWriteRefused, 3),
];

/// Faults that a world without disks cannot show. The power cuts do.
const ELSEWHERE: &[Fault] = &[Fault::NoFsync];

/// Faults are planted in the whole process: one test at a time.
static PLANTED: Mutex<()> = Mutex::new(());

/// A run that a planted fault fails.
fn notice(fault: Fault, seeds: u64) -> Option<Failure> {
    let seed = NOTICED.iter().find(|(noticed, _)| *noticed == fault).map(|(_, seed)| *seed);
    fault.plant();
    let failure = seed.and_then(|seed| run(seed, Level::Copies, 0).err());
    fault.lift();
    failure.map(|failure| *failure).or_else(|| hunt(fault, seeds))
}

/// Whether a world can show a fault at all: one that needs the hub's old disk put back is not looked for where it never
/// is, nor one that needs two tenants where there is one.
fn may_show(fault: Fault, plan: &Plan) -> bool {
    if fault == Fault::PrecedentOfAnotherTenant {
        return Plan::begin(plan.seed, plan.level).0.tenants > 1;
    }
    let is_rolled_back = || plan.operations.iter().any(|operation| operation.what == What::Rollback);
    let needs = [Fault::ResumeNotCompared, Fault::StretchOfOtherChain, Fault::RingOfOtherChain];
    !needs.contains(&fault) || is_rolled_back()
}

/// The first seed tried that a planted fault fails.
fn hunt(fault: Fault, seeds: u64) -> Option<Failure> {
    let next = AtomicU64::new(1);
    let tried = AtomicU64::new(0);
    let is_found = AtomicBool::new(false);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    fault.plant();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !is_found.load(Ordering::Relaxed) {
                    let plan = Plan::draw(next.fetch_add(1, Ordering::Relaxed), Level::Copies);
                    if !may_show(fault, &plan) {
                        continue;
                    }
                    if tried.fetch_add(1, Ordering::Relaxed) >= seeds {
                        return;
                    }
                    if let Err(failure) = run_plan(&plan, 0) {
                        is_found.store(true, Ordering::Relaxed);
                        failures.lock().unwrap().push(*failure);
                    }
                }
            });
        }
    });
    fault.lift();
    failures.into_inner().unwrap().into_iter().min_by_key(|failure| failure.seed)
}

#[test]
fn a_failing_plan_is_cut_down_written_down_and_fails_again() {
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no faults to plant");
        return;
    }
    let _alone = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    Fault::MergeWithoutDot.plant();
    let failing = (1..).map(|seed| Plan::draw(seed, Level::Copies)).find(|plan| run_plan(plan, 0).is_err());
    let failing = failing.unwrap();
    let smaller = failing.shrink(SHRINK_RUNS_MAX, |plan| run_plan(plan, 0).is_err());
    let read = Plan::read(&smaller.to_string()).unwrap();
    let (first, again) = (run_plan(&smaller, 9).unwrap_err(), run_plan(&read, 9).unwrap_err());
    Fault::MergeWithoutDot.lift();
    println!("{} of {} operations: {}", smaller.operations.len(), failing.operations.len(), first.what);
    assert!(smaller.operations.len() * 4 < failing.operations.len(), "{smaller}");
    assert_eq!((first.step, first.what, first.tail), (again.step, again.what, again.tail));
    assert!(run_plan(&smaller, 0).is_ok(), "without the fault nothing is wrong with it");
}

#[test]
fn each_planted_fault_is_caught() {
    let _alone = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no faults to plant");
        return;
    }
    let only = std::env::var("FAULT").ok().filter(|name| !name.is_empty());
    let is_asked = |fault: &&Fault| only.as_deref().is_none_or(|name| name == fault.name());
    let planted: Vec<Fault> =
        Fault::ALL.iter().filter(is_asked).filter(|fault| !ELSEWHERE.contains(fault)).copied().collect();
    assert!(!planted.is_empty(), "no fault of the simulation's is called {only:?}");
    let mut missed = Vec::new();
    for fault in &planted {
        match notice(*fault, number("SEEDS").unwrap_or(SEEDS)) {
            Some(Failure { seed, what, .. }) => {
                let check: String = what.chars().take(160).collect();
                println!("{}: seed {seed}: {check}", fault.name());
            }
            None => {
                println!("{}: NOT CAUGHT", fault.name());
                missed.push(fault.name());
            }
        }
    }
    println!("{} planted, {} caught", planted.len(), planted.len() - missed.len());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
