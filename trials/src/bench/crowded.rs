//! More than one process can drive: thousands of sessions, held by several processes beside the one that measures.

use std::net::Ipv4Addr;
use std::slice;
use std::time::{Duration, Instant};

use spoke::trust::JoinToken;
use tokio::task::JoinSet;

use super::echo::{self, Echo, Place};
use super::fan_out::{Room, Subscriber as _, add_receipt, readers};
use super::figures::Figures;
use super::ground::{Ground, On, Settings, TENANT, Under, joined};
use super::idle::taken;
use super::machine::{raise_open_files, resident_kib};
use super::scenario::Scenario;
use crate::process::Process;

/// What a process says once all its sessions stand.
const READY: &str = "ready";
/// Longest wait for that.
const READY_MAX: Duration = Duration::from_mins(10);
/// Processes that hold sessions.
const PROCESSES: usize = 4;
/// The word instead of a token for the bare server.
const BARE: &str = "bare";

/// Sessions that do nothing but read, until this process is ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Sit {
    /// Where the server listens.
    url: String,
    /// A join token, or `bare` for the bare server.
    token: String,
    /// Where keys go: how the names of their files begin.
    keys: String,
    /// How the names of nodes begin.
    name: String,
    /// Sessions.
    count: usize,
    /// The address of this machine that they come from.
    source: Ipv4Addr,
}

/// `None` where a hub may not open the files that so many sessions need: it takes a connection for every two of them.
fn has_files_for(count: usize) -> Option<()> {
    let files = usize::try_from(raise_open_files()).unwrap_or(usize::MAX);
    (files / 2 >= count).then_some(())
}

/// Holds the sessions.
pub(crate) async fn sit(asked: Sit) {
    raise_open_files();
    let Sit { url, token, keys, name, count, source } = asked;
    if token == BARE {
        let (place, mut all) = (Place::at(url), Vec::new());
        for _ in 0..count {
            all.push(place.connect().await.stay().await);
        }
        println!("{READY}");
        return std::future::pending().await;
    }
    let token = JoinToken::parse(&token).unwrap_or_else(|e| panic!("{e}"));
    let members = joined(&url, slice::from_ref(&token), &keys, "agent", &name, count).await;
    let members = members.iter().map(|member| member.from_address(source)).collect();
    let mut reading = JoinSet::new();
    for mut reader in readers(members).await.0 {
        reading.spawn(async move {
            loop {
                reader.next().await;
            }
        });
    }
    println!("{READY}");
    // None of them ends but by a failure.
    if let Some(Err(failed)) = reading.join_next().await {
        panic!("a session ended: {failed}");
    }
}

/// Starts one with each token, each from an address of its own, and waits until all their sessions stand.
fn seated(url: &str, tokens: &[String], keys: &str, name: &str, count: usize) -> Vec<Process> {
    let share = (count / PROCESSES).to_string();
    let start = |(n, token): (u8, &String)| {
        let (name, source) = (format!("{name}-{n}"), Ipv4Addr::new(127, 0, 0, n).to_string());
        Process::start("bench", &["sit", url, token, keys, &name, &share, &source])
    };
    let all: Vec<Process> = (1..).zip(tokens).map(start).collect();
    for process in &all {
        let line = process.line_within(READY_MAX);
        assert_eq!(line.as_deref(), Some(READY), "a process could not open all its sessions");
    }
    all
}

async fn idle(ground: &Ground, on: On, count: usize) -> Option<Figures> {
    has_files_for(count)?;
    let under = Under::start(ground, on).await?;
    let (id, url) = (under.hub.process().id(), under.hub.url());
    let tokens: Vec<_> = (0..PROCESSES).map(|_| under.token(TENANT, count / PROCESSES)).collect();
    let sit = |name: &str, count: usize| {
        tokio::task::block_in_place(|| seated(&url, &tokens, &under.folder.at("key"), name, count))
    };
    // What the first ones need stays.
    let first = sit("first", PROCESSES);
    let (before, begin) = (resident_kib(id), Instant::now());
    let count = count - PROCESSES;
    let all = sit("idle", count);
    let opened = begin.elapsed().as_secs_f64();
    let figures = taken(id, before, count, ground.settings.times.measure).await.with("open s", opened);
    drop((first, all));
    under.end(ground).await;
    Some(figures)
}

async fn bare_idle(ground: &Ground, count: usize) -> Option<Figures> {
    has_files_for(count)?;
    let echo = Echo::start();
    let (id, url) = (echo.process.id(), echo.place().url());
    let bare = vec![BARE.to_owned(); PROCESSES];
    let sit =
        |name: &str, count: usize| tokio::task::block_in_place(|| seated(&url, &bare, BARE, name, count));
    let first = sit("first", PROCESSES);
    let (before, begin) = (resident_kib(id), Instant::now());
    let count = count - PROCESSES;
    let all = sit("idle", count);
    let opened = begin.elapsed().as_secs_f64();
    let figures = taken(id, before, count, ground.settings.times.measure).await.with("open s", opened);
    drop((first, all));
    Some(figures)
}

pub(crate) fn idle_scenario(settings: &Settings) -> Scenario {
    let count = settings.pick(8, 10_000, 10_000);
    let case = format!("{count} sessions");
    let mut scenario = Scenario::new(
        "idle-crowd",
        "As idle-session, with ten thousand sessions on one hub, held by four processes. It needs some twenty thousand open \
         files (`ulimit -n`) in the hub. `open s`: joining, connecting and the first cut of all.",
    );
    for on in On::BOTH {
        scenario.add(case.clone(), on.name(), move |ground| async move { idle(&ground, on, count).await });
        scenario.compare(&case, "KiB each", on.name(), echo::NAME, None).at_most(1.5);
    }
    scenario.add(case, echo::NAME, move |ground| async move { bare_idle(&ground, count).await });
    scenario.rounds_at_most(1);
    scenario
}

pub(crate) fn receipt_scenario(settings: &Settings) -> Scenario {
    let (wide, per_second) = settings.pick((5, 50), (5_000, 10), (5_000, 20));
    let case = format!("{wide} subscribers, {per_second} writes a second");
    let mut scenario = Scenario::new(
        "receipt-crowd",
        "As write-to-receipt, with more subscribers and fewer writes a second: on two cores, those of the readers included, \
         a hundred writes to five thousand would be more than bare tonic carries.",
    );
    add_receipt(&mut scenario, &case, Room { wide, narrow: 0, per_second });
    for on in On::BOTH {
        for figure in ["p50 ms", "p99 ms"] {
            scenario.compare(&case, figure, on.name(), echo::NAME, None);
        }
    }
    scenario.rounds_at_most(1);
    scenario
}
