//! What does not show in seconds: stores that have grown, and memory after a while.

use std::time::Duration;

use super::figures::Figures;
use super::ground::{Ground, On, Settings, Under};
use super::load::{Times, closed};
use super::machine::resident_kib;
use super::push::{self, Load, Session};
use super::scenario::Scenario;
use super::stream::Mix;

/// Mutations of a push.
const BATCH: usize = 32;
/// Between two looks at a process's memory.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Pushes that go round over so many records, all of which are there: with more than a gateway remembers, each one is
/// looked up.
async fn grown(ground: &Ground, on: On, records: usize, spokes: usize) -> Option<Figures> {
    let under = Under::start(ground, on).await?;
    let load = Load { mix: Mix { records, ..Mix::NOTES }, ..Load::of(spokes, BATCH) };
    let mut filling = tokio::task::JoinSet::new();
    for session in push::open(&under, load).await {
        filling.spawn(session.fill(records.div_ceil(spokes)));
    }
    let sessions: Vec<Session> = filling.join_all().await;
    let figures = closed(sessions, &ground.settings.times, &under.watched(ground)).await;
    under.end(ground).await;
    Some(figures)
}

pub(crate) fn growth_scenario(settings: &Settings) -> Scenario {
    let (sizes, spokes) = settings.pick(
        (vec![100, 200], 2),
        (vec![10_000, 100_000], 64),
        (vec![10_000, 100_000, 1_000_000], 64),
    );
    let mut scenario = Scenario::new(
        "growth",
        "Pushes of 32 through sessions, over and over all of so many records. A gateway remembers 20 000: beyond that every \
         record is looked up before it is decided.",
    );
    let name = |records: usize| format!("{records} records");
    let first = sizes.first().copied().unwrap_or_default();
    for on in On::BOTH {
        for records in sizes.iter().copied() {
            scenario.add(name(records), on.name(), move |ground| async move {
                grown(&ground, on, records, spokes).await
            });
            if records != first {
                for figure in ["ops/s", "server µs/op"] {
                    scenario.compare(&name(records), figure, on.name(), on.name(), Some(&name(first)));
                }
            }
        }
    }
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
        let (first, mut most, mut last) = (resident_kib(id), 0.0_f64, 0.0);
        let looks = times.measure.as_millis() / LOOK_EVERY.as_millis().max(1);
        for _ in 0..looks.max(1) {
            tokio::time::sleep(LOOK_EVERY).await;
            last = resident_kib(id);
            most = most.max(last);
        }
        [first, last, most].map(|kib| kib / 1_024.0)
    };
    let (figures, [first, last, most]) = tokio::join!(closed(sessions, &times, &watched), looking);
    under.end(ground).await;
    Some(figures.with("MiB at first", first).with("MiB at last", last).with("MiB at most", most))
}

pub(crate) fn steady_scenario(settings: &Settings) -> Scenario {
    let (spokes, seconds) = settings.pick((2, 0), (64, 30), (64, 600));
    let measure = settings.times.measure.max(Duration::from_secs(seconds));
    let case = format!("{} s", measure.as_secs());
    let mut scenario = Scenario::new(
        "steady",
        "Pushes of 32 through sessions without a pause, and the hub's resident memory after the warm-up, at the end and at \
         most. At its largest this writes for ten minutes and keeps all of it: have 60 GB free.",
    );
    for on in On::BOTH {
        scenario.add(case.clone(), on.name(), move |ground| async move {
            steady(&ground, on, spokes, measure).await
        });
    }
    scenario
}
