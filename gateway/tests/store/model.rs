//! The engines against the model store: lists of random steps, every method of the store among them, are answered the
//! same by all. A list that is not is cut down to the steps that matter, and printed with its seed.

use std::fmt::Write as _;
use std::sync::Arc;

use gateway::store::Store;
use gateway::store::memory::MemoryStore;

use crate::support::engine;
use crate::support::faults::FaultStore;
use crate::support::rows::{Log, snapshot, tenant};

use self::step::{Call, Rng, Step, TENANTS};

#[path = "model/answer.rs"]
pub mod answer;
#[path = "model/step.rs"]
pub mod step;

/// Lists of every test run; `LISTS=n` for more, `SEED=s` for others.
const LISTS: u64 = 6;
/// Steps of a list.
const STEPS: usize = 60;

type Stores = Vec<(&'static str, Arc<dyn Store>)>;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Takes the steps on every store, each beside the others, and says where one answers differently. Tenants are of
/// this run alone.
async fn differs(stores: &Stores, run: u64, steps: &[Step]) -> Option<String> {
    let mut logs: Vec<Log> = (0..TENANTS).map(|at| Log::unmade(tenant(&format!("r{run}-{at}")))).collect();
    for (at, step) in steps.iter().enumerate() {
        let mut answers = Vec::new();
        let mut after = None;
        for (name, store) in stores {
            let (text, next) = answer::of(&**store, &logs[step.tenant], step).await;
            answers.push((name, text));
            after = after.or(next);
        }
        if let Some(told) = unequal(&answers) {
            return Some(format!("step {at}: {step:?}\n{told}"));
        }
        if let Some(after) = after {
            logs[step.tenant] = after;
        }
    }
    for log in logs.iter().filter(|log| log.is_made) {
        let mut answers = Vec::new();
        for (name, store) in stores {
            answers.push((name, snapshot(&**store, &log.tenant).await));
        }
        if let Some(told) = unequal(&answers) {
            return Some(format!("at the end, {:?}\n{told}", log.tenant));
        }
    }
    None
}

/// Answers that are not all equal, as text.
fn unequal(answers: &[(&&'static str, String)]) -> Option<String> {
    let (_, first) = answers.first()?;
    if answers.iter().all(|(_, answer)| answer == first) {
        return None;
    }
    let mut told = String::new();
    answers.iter().for_each(|(name, answer)| writeln!(told, "{name}: {answer}").unwrap());
    Some(told)
}

/// Leaves out steps as long as the stores still differ: halves first, single steps last.
async fn cut_down(stores: &Stores, run: &mut u64, mut steps: Vec<Step>) -> Vec<Step> {
    let mut width = steps.len().div_ceil(2);
    while width > 0 {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + width).min(fewer.len()));
            *run += 1;
            if differs(stores, *run, &fewer).await.is_some() {
                steps = fewer;
            } else {
                from += width;
            }
        }
        width /= 2;
    }
    steps
}

/// Random lists on all of these. The shortest list on which they differ, and what they say.
async fn hunt(stores: &Stores, lists: u64, seed: u64) -> Option<(Vec<Step>, String)> {
    let mut run = 0;
    for list in 0..lists {
        let mut rng = Rng::new(seed.wrapping_mul(1_000_003).wrapping_add(list));
        let made = (0..TENANTS).map(|tenant| Step { tenant, call: Call::Create });
        let steps: Vec<Step> = made.chain((0..STEPS).map(|_| Step::draw(&mut rng))).collect();
        run += 1;
        if differs(stores, run, &steps).await.is_some() {
            let steps = cut_down(stores, &mut run, steps).await;
            let told = differs(stores, run + 1, &steps).await.unwrap_or_default();
            return Some((steps, told));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_answers_random_lists_as_the_model_does() {
    let mut engines = vec![("memory", engine::memory().await), ("sqlite", engine::sqlite().await)];
    engines.push(("postgres", engine::postgres().await));
    let mut stores: Stores = Vec::new();
    for (name, engine) in &engines {
        match engine {
            Some(engine) => stores.push((name, engine.store())),
            None => eprintln!("SKIPPED: the model against {name}"),
        }
    }
    let seed = number("SEED", 1);
    if let Some((steps, told)) = hunt(&stores, number("LISTS", LISTS), seed).await {
        panic!("seed {seed}, cut down to {} steps: {steps:#?}\n{told}", steps.len());
    }
}

#[tokio::test]
async fn a_store_that_keeps_what_is_pruned_is_found_and_the_list_cut_down() {
    let spoiled = FaultStore::new(Arc::new(MemoryStore::new()));
    spoiled.keep_pruned();
    let stores: Stores = vec![("model", Arc::new(MemoryStore::new())), ("spoiled", Arc::new(spoiled))];
    let (steps, told) = hunt(&stores, 4 * LISTS, 1).await.expect("the lists prune");
    assert!(steps.len() <= 3, "a tenant, what is pruned, and the pruning: {steps:#?}\n{told}");
}
