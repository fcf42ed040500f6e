//! What does not show in seconds: stores that have grown, and memory after a while.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::figures::{Figures, SERVING};
use super::ground::{Ground, On, Settings, Under};
use super::load::{Times, closed, closed_again};
use super::machine::resident_kib;
use super::push::{self, Load, Session};
use super::scenario::Scenario;
use super::stream::Mix;

/// Mutations of a push.
const BATCH: usize = 32;
/// Between two looks at a process's memory.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A hub that holds so many records, and the sessions that wrote them: kept for all rounds.
struct Full {
    under: Under,
    sessions: Vec<Session>,
    /// Bytes that each record took in the store, its change in the log included.
    each: f64,
}

type Kept = Rc<Mutex<Option<Full>>>;

async fn filled(ground: &Ground, on: On, records: usize, spokes: usize) -> Option<Full> {
    let under = Under::start(ground, on).await?;
    let before = under.stored(ground).await;
    let load = Load { mix: Mix { records, ..Mix::NOTES }, ..Load::of(spokes, BATCH) };
    let mut filling = tokio::task::JoinSet::new();
    for session in push::open(&under, load).await {
        filling.spawn(session.fill(records.div_ceil(spokes)));
    }
    let sessions = filling.join_all().await;
    under.rest(ground).await;
    let each = (under.stored(ground).await - before) / records as f64;
    Some(Full { under, sessions, each })
}

/// Pushes that go round over so many records, all of which are there: with more than a gateway remembers, each one is
/// looked up.
async fn grown(ground: &Ground, kept: Kept, on: On, (records, spokes): (usize, usize)) -> Option<Figures> {
    let mut kept = kept.lock().await;
    let Full { under, sessions, each } = match kept.take() {
        Some(full) => full,
        None => filled(ground, on, records, spokes).await?,
    };
    let (figures, sessions) = closed_again(sessions, &ground.settings.times, &under.watched(ground)).await;
    let resident = resident_kib(under.hub.process().id()) / 1_024.0;
    *kept = Some(Full { under, sessions, each });
    Some(figures.with("bytes stored each", each).with("MiB of the hub", resident))
}

fn add_grown(scenario: &mut Scenario, sizes: &[usize], spokes: usize) {
    let name = |records: usize| format!("{records} records");
    let first = sizes.first().copied().unwrap_or_default();
    for on in On::BOTH {
        for records in sizes.iter().copied() {
            let kept = Kept::default();
            scenario.add(name(records), on.name(), move |ground| {
                let kept = Rc::clone(&kept);
                async move { grown(&ground, kept, on, (records, spokes)).await }
            });
            if records != first {
                let logarithm = (records as f64).ln() / (first as f64).ln();
                let compared =
                    scenario.compare(&name(records), SERVING, on.name(), on.name(), Some(&name(first)));
                compared.at_most(logarithm);
                scenario.compare(&name(records), "ops/s", on.name(), on.name(), Some(&name(first)));
            }
        }
    }
}

pub(crate) fn growth_scenario(settings: &Settings) -> Scenario {
    let (sizes, spokes) = settings.pick(
        (vec![100, 200], 2),
        (vec![10_000, 100_000, 1_000_000], 64),
        (vec![10_000, 1_000_000], 64),
    );
    let mut scenario = Scenario::new(
        "growth",
        "Pushes of 32 through sessions, over and over all of so many records. A gateway remembers 20 000: beyond that every \
         record is looked up before it is decided. `bytes stored each`: of the store for each record once all are written, \
         with the change in the log that made it. Processor time for each is to grow no faster than the logarithm of the \
         number.",
    );
    add_grown(&mut scenario, &sizes, spokes);
    scenario
}

/// The largest store, measured once: writing it takes minutes.
pub(crate) fn largest_scenario(_: &Settings) -> Scenario {
    let mut scenario =
        Scenario::new("growth-largest", "As growth, with ten million records, one round. Have 40 GB free.");
    add_grown(&mut scenario, &[10_000, 10_000_000], 64);
    scenario.rounds_at_most(1);
    scenario
}

/// The same load for a while, and the hub's memory meanwhile.
async fn steady(ground: &Ground, on: On, spokes: usize, measure: Duration) -> Option<Figures> {
    let under = Under::start(ground, on).await?;
    let sessions = push::open(&under, Load::of(spokes, BATCH)).await;
    let (id, times) = (under.hub.process().id(), Times { measure, ..ground.settings.times });
    let watched = under.watched(ground);
    let looking = async {
        tokio::time::sleep(times.warm_up).await;
        let (first, mut half, mut most, mut last) = (resident_kib(id), 0.0, 0.0_f64, 0.0);
        let looks = (times.measure.as_millis() / LOOK_EVERY.as_millis().max(1)).max(2);
        for look in 0..looks {
            tokio::time::sleep(LOOK_EVERY).await;
            last = resident_kib(id);
            most = most.max(last);
            if look == looks / 2 {
                half = last;
            }
        }
        [first, half, last, most].map(|kib| kib / 1_024.0)
    };
    let (figures, [first, half, last, most]) = tokio::join!(closed(sessions, &times, &watched), looking);
    under.end(ground).await;
    let figures = figures.with("MiB at first", first).with(HALF, half);
    Some(figures.with(LAST, last).with("MiB at most", most))
}

const HALF: &str = "MiB half-way";
const LAST: &str = "MiB at last";

pub(crate) fn steady_scenario(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::new(
        "steady",
        "Pushes of 32 through sessions without a pause, and the hub's resident memory after the warm-up, half-way, at the end \
         and at most; flat means that the second half adds no tenth. All of it is kept: have 40 GB free for ten minutes.",
    );
    for (on, usual) in [(On::Postgres, 600), (On::Sqlite, 60)] {
        let (spokes, seconds) = settings.pick((2, 0), (64, usual), (64, 600));
        let measure = settings.times.measure.max(Duration::from_secs(seconds));
        let case = format!("{} s", measure.as_secs());
        scenario.add(case.clone(), on.name(), move |ground| async move {
            steady(&ground, on, spokes, measure).await
        });
        scenario.compare(&case, LAST, on.name(), on.name(), None).by(HALF).at_most(1.1);
    }
    scenario.rounds_at_most(1);
    scenario
}
