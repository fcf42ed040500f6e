//! Catching up: from nothing, and after some changes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message as _;
use prost::bytes::Bytes;
use proto::v1;
use tokio::sync::OnceCell;
use tonic::Request;

use super::ceiling;
use super::echo::{self, Echo};
use super::fan_out::{Reader, Subscriber as _};
use super::figures::Figures;
use super::ground::{Ground, On, Settings, Under};
use super::machine::Watched;
use super::push::{fill, fill_with};
use super::scenario::Scenario;
use super::stream::Mix;
use crate::fleet::Spoke;
use crate::member::Member;

/// Changes that a reader has missed.
const MISSED: usize = 1_000;
/// Times that it comes back in a round.
const RETURNS: usize = 5;

/// A batch of changes of which nothing is read but how many they are.
#[derive(Clone, PartialEq, prost::Message)]
struct Counted {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    changes: Vec<Bytes>,
}

fn counted(changes: &v1::Changes) -> usize {
    Counted::decode(changes.batch.clone()).expect("a batch of changes").changes.len()
}

/// A hub that holds records, filled when it is first asked for and kept for all rounds.
type Filled = Rc<OnceCell<Option<Under>>>;

/// What a hub holds.
#[derive(Debug, Clone, Copy)]
enum Held {
    /// So many records, each written once.
    Live(usize),
    /// So many records, each written so many times.
    Rewritten(usize, usize),
    /// So many records, of which one of so many is of a kind that few see.
    Mixed(usize, usize),
}

/// The kind that few see.
const RARE: &str = "entity";

async fn filled_with<'a>(filled: &'a Filled, ground: &Ground, on: On, held: Held) -> Option<&'a Under> {
    let fresh = async {
        let under = Under::start(ground, on).await?;
        match held {
            Held::Live(records) => fill(&under, records).await,
            Held::Rewritten(records, times) => {
                fill_with(&under, Mix { records, ..Mix::NOTES }, records * times).await;
            }
            Held::Mixed(records, part) => {
                let rare = Mix { kind: RARE, is_append: true, ..Mix::NOTES };
                // Between the others, as they come: a page holds some of both.
                let slices = (records / SLICE_RECORDS).max(2);
                let slice = records.div_ceil(slices);
                for _ in 0..slices {
                    fill_with(&under, rare, slice / part).await;
                    fill(&under, slice - slice / part).await;
                }
            }
        }
        Some(under)
    };
    filled.get_or_init(|| fresh).await.as_ref()
}

async fn filled<'a>(kept: &'a Filled, ground: &Ground, on: On, records: usize) -> Option<&'a Under> {
    filled_with(kept, ground, on, Held::Live(records)).await
}

/// Records of a slice; kinds alternate by slices.
const SLICE_RECORDS: usize = 5_000;

pub(crate) fn took(time: Duration, records: usize) -> Figures {
    let took = time.as_secs_f64();
    Figures::default().with("ms", took * 1e3).with("records/s", records as f64 / took)
}

/// A node of its own for one measurement.
async fn node(under: &Under) -> Member {
    let name = format!("late-{}", under.number());
    under.members(&name, 1).await.remove(0)
}

/// The hub's stream from nothing to the head, counted.
async fn stream(under: &Under, records: usize) -> Figures {
    stream_to(under, node(under).await, records).await
}

async fn stream_to(under: &Under, member: Member, records: usize) -> Figures {
    let bearer = member.bearer().await.unwrap_or_else(|e| panic!("an access token: {e}"));
    let watched = Watched::server(under.hub.process().id());
    let watch = watched.begin();
    let begin = Instant::now();
    let mut request =
        Request::new(v1::PullRequest { from: Some(v1::pull_request::From::Start(v1::Start {})) });
    request.metadata_mut().insert("authorization", bearer);
    let mut pages = member.sync().pull(request).await.unwrap_or_else(|e| panic!("a pull: {e}")).into_inner();
    let (mut seen, mut bytes, mut first_ms) = (0, 0, None);
    while let Some(page) = pages.message().await.unwrap_or_else(|e| panic!("a pull: {e}")) {
        let changes = page.changes.expect("a page");
        seen += counted(&changes);
        bytes += changes.batch.len();
        first_ms.get_or_insert(begin.elapsed().as_secs_f64() * 1e3);
    }
    assert!(seen >= records, "{seen} of {records} records came");
    let took = took(begin.elapsed(), records);
    let server_us = watch.end().get("server").copied().unwrap_or_default();
    took.with("MB", bytes as f64 / 1e6)
        .with("first page ms", first_ms.unwrap_or_default())
        .with("server ms", server_us / 1e3)
        .with("server µs each", server_us / records as f64)
}

/// A spoke that joins and syncs, as a process: what it took until its replica has everything.
fn replica(under: &Under, records: usize) -> Figures {
    let name = format!("late-{}", under.number());
    let spoke = Spoke::join(&under.folder, &under.hub, &name);
    let begin = Instant::now();
    spoke.ok(&["sync", "--timeout", "600"]);
    let figures = took(begin.elapsed(), records);
    assert!(spoke.ok(&["status"]).json()["revision"].as_u64().is_some_and(|at| at >= records as u64));
    figures
}

async fn bare_stream(records: usize) -> Figures {
    let echo = Echo::start();
    let bearer = echo.connect().await;
    let begin = Instant::now();
    let mut pages = bearer.load(records as u64).await;
    let mut seen = 0;
    while let Some(page) = pages.message().await.unwrap_or_else(|e| panic!("the bare server: {e}")) {
        seen += page.records.len();
    }
    assert_eq!(seen, records);
    took(begin.elapsed(), records)
}

/// The hub's stream, as a case.
pub(crate) fn add_stream(scenario: &mut Scenario, case: &str, on: On, records: usize) {
    let hub = Filled::default();
    scenario.add(case, on.name(), move |ground| {
        let hub = Rc::clone(&hub);
        async move { Some(stream(filled(&hub, &ground, on, records).await?, records).await) }
    });
}

pub(crate) fn whole_scenario(settings: &Settings) -> Scenario {
    const STREAM: &str = "the stream";
    const REPLICA: &str = "into a replica";
    let records = settings.pick(300, 100_000, 100_000);
    let mut scenario = Scenario::new(
        "catch-up",
        "A node that has nothing gets 100 000 records of 512 bytes: the hub's stream, its changes counted by whoever \
         reads it, and into the replica of a spoke, its process's start included. The same where each record was written five \
         times (a log that is mostly history), and where the reader may see one record of ten.",
    );
    for on in On::BOTH {
        let hub = Filled::default();
        let same = Rc::clone(&hub);
        scenario.add(STREAM, on.name(), move |ground| {
            let hub = Rc::clone(&hub);
            async move { Some(stream(filled(&hub, &ground, on, records).await?, records).await) }
        });
        scenario.add(REPLICA, on.name(), move |ground| {
            let hub = Rc::clone(&same);
            async move { Some(replica(filled(&hub, &ground, on, records).await?, records)) }
        });
        scenario.compare(STREAM, "ms", on.name(), "bare Postgres cursor", None).at_most(2.0);
        scenario.compare(STREAM, "ms", on.name(), echo::NAME, None);
        scenario.compare(REPLICA, "records/s", on.name(), "bare SQLite inserts", None).at_least(0.6);
        add_other_logs(&mut scenario, settings, on, STREAM);
    }
    scenario.add(STREAM, "bare Postgres cursor", move |ground| async move {
        ceiling::cursor(&ground, records).await
    });
    scenario.add(STREAM, echo::NAME, move |_| async move { Some(bare_stream(records).await) });
    scenario.add(REPLICA, "bare SQLite inserts", move |_| async move { Some(ceiling::inserts(records)) });
    scenario
}

/// Logs that are mostly history, and logs of which a reader may see little, beside the same records alone.
fn add_other_logs(scenario: &mut Scenario, settings: &Settings, on: On, stream_case: &str) {
    const HISTORY: &str = "the stream, each record written 5 times";
    const NARROW: &str = "the stream, 1 of 10 records seen";
    let (live, part) = settings.pick((200, 10), (100_000, 10), (100_000, 10));
    let hub = Filled::default();
    scenario.add(HISTORY, on.name(), move |ground| {
        let hub = Rc::clone(&hub);
        async move {
            let under = filled_with(&hub, &ground, on, Held::Rewritten(live, 5)).await?;
            Some(stream(under, live).await)
        }
    });
    let hub = Filled::default();
    scenario.add(NARROW, on.name(), move |ground| {
        let hub = Rc::clone(&hub);
        async move {
            let under = filled_with(&hub, &ground, on, Held::Mixed(live, part)).await?;
            let member = under.narrow(RARE, &format!("few-{}", under.number()), 1).await.remove(0);
            Some(stream_to(under, member, live / part).await)
        }
    });
    scenario.compare(HISTORY, "ms", on.name(), on.name(), Some(stream_case));
    scenario.compare(NARROW, "ms", on.name(), on.name(), Some(stream_case)).at_most(1.0);
}

/// A reader that was at the head and comes back after some changes, [`RETURNS`] times: the middle one.
async fn changed(under: &Under, missed: usize) -> Figures {
    let member = node(under).await;
    let (mut reader, _) = Reader::open(member.clone(), None).await;
    let mut cursor = loop {
        if let (_, Some(cursor)) = reader.changes().await {
            break cursor;
        }
    };
    drop(reader);
    let mut all = Vec::new();
    for _ in 0..RETURNS {
        fill(under, missed).await;
        let (took, at) = comes_back(under, &member, cursor, missed).await;
        all.push(took);
        cursor = at;
    }
    all.sort_unstable();
    took(all.get(RETURNS / 2).copied().unwrap_or_default(), missed)
}

/// How long it takes, and up to where it has come.
async fn comes_back(
    under: &Under,
    member: &Member,
    cursor: v1::Cursor,
    missed: usize,
) -> (Duration, v1::Cursor) {
    // The joining of the writers came before the last of the changes.
    let (mut other, _) = Reader::open(node(under).await, Some(cursor.clone())).await;
    let to = other.next().await;
    drop(other);
    let channel = member.connect().await.expect("a connection");
    let member = member.over(channel);
    drop(member.bearer().await);
    let begin = Instant::now();
    let (mut reader, _) = Reader::open(member, Some(cursor)).await;
    let mut seen = 0;
    loop {
        let (changes, cursor) = reader.changes().await;
        seen += counted(&changes);
        if let Some(cursor) = cursor.filter(|cursor| cursor.revision >= to) {
            assert!(seen >= missed, "{seen} of {missed} changes came");
            return (begin.elapsed(), cursor);
        }
    }
}

pub(crate) fn changed_scenario(settings: &Settings) -> Scenario {
    let missed = settings.pick(100, MISSED, MISSED);
    let sizes = settings.pick([100, 300], [10_000, 1_000_000], [10_000, 1_000_000]);
    let mut scenario = Scenario::new(
        "changed",
        "A node that was away comes back after 1 000 changes, over a new session on a connection that stands: how long \
         until it has them, by how many records there were to begin with. In each round it does so five times, and the middle \
         time counts.",
    );
    let [few, many] = sizes.map(|records| format!("{missed} changes of {records} records"));
    for on in On::BOTH {
        for (case, records) in [(&few, sizes[0]), (&many, sizes[1])] {
            let hub = Filled::default();
            scenario.add(case.clone(), on.name(), move |ground| {
                let hub = Rc::clone(&hub);
                async move { Some(changed(filled(&hub, &ground, on, records).await?, missed).await) }
            });
        }
        scenario.compare(&many, "ms", on.name(), on.name(), Some(&few)).at_most(1.2);
    }
    scenario
}
