//! Sessions that do nothing, and sessions that all come back at once.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use gateway::hub::limits::STRETCH_MS_MAX;
use tokio::task::JoinSet;

use super::echo::{self, Echo};
use super::fan_out::{Reader, Subscriber as _, readers};
use super::figures::Figures;
use super::ground::{Ground, On, Settings, Under};
use super::load::{histogram, note};
use super::machine::{of_process, resident_kib};
use super::scenario::Scenario;
use crate::member::Member;

/// Sessions that are opened side by side where it is not measured.
const OPENING_MAX: usize = 16;
/// Sessions before memory is looked at: what the first ones need stays.
const FIRST: usize = 20;

/// For so long a hub keeps pages that one reader was sent for others.
const KEPT_FOR_OTHERS: Duration = Duration::from_millis(STRETCH_MS_MAX);

/// What so many more sessions take of a process, once nothing moves.
pub(crate) async fn taken(id: u32, before: f64, count: usize, quiet: Duration) -> Figures {
    tokio::time::sleep(quiet).await;
    let after = resident_kib(id);
    let used = of_process(id);
    let begin = Instant::now();
    tokio::time::sleep(quiet).await;
    let part = (of_process(id) - used) / 1e4 / begin.elapsed().as_secs_f64();
    let each = (after - before) / count as f64;
    Figures::default().with("KiB each", each).with("MiB after", after / 1024.0).with("% of a core", part)
}

pub(crate) async fn idle(ground: &Ground, on: On, count: usize) -> Option<Figures> {
    let mut under = Under::start(ground, on).await?;
    let first = under.members("first", ground.settings.pick(2, FIRST, FIRST)).await;
    let members = under.members("idle", count).await;
    // What joining leaves behind is of no session: the hub that is measured knows its nodes from its store.
    under.hub.restart();
    let first = readers(first).await.0;
    let id = under.hub.process().id();
    let before = resident_kib(id);
    let begin = Instant::now();
    let sessions = readers(members).await.0;
    let opened = begin.elapsed().as_secs_f64();
    // All of them read on: nothing waits in the hub, and soon it keeps nothing for others who come.
    let mut reading = JoinSet::new();
    for mut reader in first.into_iter().chain(sessions) {
        reading.spawn(async move {
            loop {
                reader.next().await;
            }
        });
    }
    tokio::time::sleep(ground.settings.pick(Duration::ZERO, KEPT_FOR_OTHERS, KEPT_FOR_OTHERS)).await;
    let figures = taken(id, before, count, ground.settings.times.measure).await.with("open s", opened);
    reading.shutdown().await;
    under.end(ground).await;
    Some(figures)
}

pub(crate) async fn bare_idle(ground: &Ground, count: usize) -> Figures {
    let echo = Echo::start();
    let id = echo.process.id();
    let mut all = Vec::new();
    for _ in 0..FIRST {
        all.push(echo.connect().await.stay().await);
    }
    let before = resident_kib(id);
    let begin = Instant::now();
    for _ in 0..count {
        all.push(echo.connect().await.stay().await);
    }
    let opened = begin.elapsed().as_secs_f64();
    taken(id, before, count, ground.settings.times.measure).await.with("open s", opened)
}

pub(crate) fn idle_scenario(settings: &Settings) -> Scenario {
    let counts = settings.pick(vec![10], vec![1_000], vec![1_000]);
    let mut scenario = Scenario::new(
        "idle-session",
        "Sessions at the head, with nothing to say, of nodes that joined before the hub was started: resident memory of the \
         hub for each more of them, its connection and what the hub keeps of its node included, and what keeping them costs, \
         once the hub has let go of the pages that it keeps for others who come at the same time. `open s`: connecting and the \
         first cut of all, 16 side by side. Beside it a stream each way on a connection of its own to bare tonic.",
    );
    for count in counts {
        let case = format!("{count} sessions");
        for on in [On::Postgres, On::PostgresTls, On::Sqlite] {
            scenario.add(
                case.clone(),
                on.name(),
                move |ground| async move { idle(&ground, on, count).await },
            );
            let compared = scenario.compare(&case, "KiB each", on.name(), echo::NAME, None);
            if on != On::PostgresTls {
                compared.at_most(1.5);
            }
        }
        scenario.add(case, echo::NAME, move |ground| async move { Some(bare_idle(&ground, count).await) });
    }
    scenario
}

/// Runs all of them at once; from the common beginning until each is done.
async fn at_once<F>(all: impl Iterator<Item = F>, id: u32) -> Figures
where
    F: Future<Output = ()> + Send + 'static,
{
    let used = of_process(id);
    let (begin, mut running) = (Instant::now(), JoinSet::new());
    for one in all {
        running.spawn(async move {
            one.await;
            begin.elapsed()
        });
    }
    let (mut latency, mut count) = (histogram(), 0.0);
    while let Some(done) = running.join_next().await {
        note(&mut latency, done.unwrap_or_else(|e| panic!("one did not come back: {e}")));
        count += 1.0;
    }
    let mut figures = Figures::default().with("ms", begin.elapsed().as_secs_f64() * 1e3);
    figures.latencies(&latency);
    figures.set("server µs/op", (of_process(id) - used) / count);
    figures
}

async fn storm(ground: &Ground, on: On, count: usize) -> Option<Figures> {
    let under = Under::start(ground, on).await?;
    let open = |member: Member| async {
        let (mut reader, _) = Reader::open(member.clone(), None).await;
        let cursor = loop {
            if let (_, Some(cursor)) = reader.changes().await {
                break cursor;
            }
        };
        (member, cursor)
    };
    let members = under.members("storm", count).await;
    let nodes: Vec<_> = stream::iter(members).map(open).buffered(OPENING_MAX).collect().await;
    let back = nodes.into_iter().map(|(member, cursor)| async move {
        let (mut reader, _) = Reader::open_again(member.anew(), cursor).await;
        reader.next().await;
    });
    let figures = at_once(back, under.hub.process().id()).await;
    under.end(ground).await;
    Some(figures)
}

async fn bare_storm(count: usize) -> Figures {
    let echo = Echo::start();
    let back = (0..count).map(|_| {
        let at = echo.place();
        async move { drop(at.connect().await.stay().await) }
    });
    at_once(back, echo.process.id()).await
}

pub(crate) fn storm_scenario(settings: &Settings) -> Scenario {
    let count = settings.pick(10, 2_000, 2_000);
    let mut scenario = Scenario::new(
        "reconnect-storm",
        "All nodes come back at once: a new connection, a session from the cursor that each had (its access token is \
         still good; it asks again where the hub has no room yet), and the first cut. Percentiles of the time from the \
         common beginning.",
    );
    let case = format!("{count} spokes");
    for on in On::BOTH {
        scenario.add(case.clone(), on.name(), move |ground| async move { storm(&ground, on, count).await });
        scenario.compare(&case, "ms", on.name(), echo::NAME, None);
    }
    scenario.add(case, echo::NAME, move |_| async move { Some(bare_storm(count).await) });
    scenario
}
