//! Two gateways over one Postgres, and clients that write without a pause through the spokes' commands and wait for
//! the hub each time. What they were told, and when, shows what a fault did to them.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "harness of tests: a panic is how a test fails, and how long something took is what it reports"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fleet::{Hub, Spoke};
use crate::history::{self, Client, Event, Verdict};
use crate::process::{Folder, Process, Ran, until};
use crate::settle::{log, settle};

/// A write that a client made, and what became of it.
#[derive(Debug, Clone)]
pub struct Write {
    /// The record, written once.
    pub id: String,
    /// When the command began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How it ended.
    pub ran: Ran,
}

impl Write {
    fn is_acknowledged(&self) -> bool {
        self.ran.code == 0
    }
}

/// Two gateways, and spokes whose daemons know both.
#[derive(Debug)]
pub struct Cluster<'a> {
    folder: &'a Folder,
    /// The gateways.
    pub hubs: [Hub; 2],
    /// The spokes; the first begins with the first gateway, the second with the other, and so on.
    pub spokes: Vec<Spoke>,
    daemons: Vec<Process>,
    first: u64,
}

impl<'a> Cluster<'a> {
    /// Starts it. With `is_free` every spoke may use either gateway; otherwise the one alone that it begins with.
    ///
    /// # Panics
    /// When something does not come up.
    #[must_use]
    pub fn start(folder: &'a Folder, url: &str, spokes: usize, is_free: bool) -> Self {
        Self::start_with(folder, url, (spokes, is_free), |_| {})
    }

    /// As [`Cluster::start`], with something done to the first gateway before anybody joins.
    ///
    /// # Panics
    /// When something does not come up.
    #[must_use]
    pub fn start_with(
        folder: &'a Folder,
        url: &str,
        (spokes, is_free): (usize, bool),
        first: impl FnOnce(&Hub),
    ) -> Self {
        let near = Hub::start(folder, false, Some(url));
        first(&near);
        let far = near.beside(folder, "far");
        let (urls, swapped) = ([&near, &far].map(Hub::url), [&far, &near].map(Hub::url));
        Self::gather(folder, [near, far], spokes, |n| {
            let [one, other] = if n.is_multiple_of(2) { urls.clone() } else { swapped.clone() };
            if is_free { vec![one, other] } else { vec![one] }
        })
    }

    /// Starts it with spokes that know the gateways by other addresses.
    ///
    /// # Panics
    /// When something does not come up.
    #[must_use]
    pub fn start_behind(
        folder: &'a Folder,
        url: &str,
        spokes: usize,
        urls: impl FnOnce(&[Hub; 2]) -> Vec<String>,
    ) -> Self {
        let near = Hub::start(folder, false, Some(url));
        let far = near.beside(folder, "far");
        let hubs = [near, far];
        let urls = urls(&hubs);
        Self::gather(folder, hubs, spokes, |_| urls.clone())
    }

    fn gather(
        folder: &'a Folder,
        hubs: [Hub; 2],
        spokes: usize,
        urls: impl Fn(usize) -> Vec<String>,
    ) -> Self {
        let first = hubs.first().expect("there are two");
        let join = |n: usize| Spoke::join_at(folder, first, &urls(n), &format!("spoke{n}"));
        let spokes: Vec<Spoke> = (0..spokes).map(join).collect();
        for spoke in &spokes {
            spoke.ok(&["sync"]);
        }
        let daemons = spokes.iter().map(Spoke::daemon).collect();
        let mut cluster = Self { folder, hubs, spokes, daemons, first: 0 };
        cluster.first = cluster.head();
        cluster
    }

    fn head(&self) -> u64 {
        let spoke = self.spokes.first().expect("there are spokes");
        spoke.ok(&["sync"]);
        spoke.digest().0
    }

    /// Runs `during` while every spoke's client writes; gives what it gave, and every client's writes in order.
    ///
    /// # Panics
    /// When `during` does.
    pub fn under_load<T>(&mut self, during: impl FnOnce(&mut [Hub; 2], &Load) -> T) -> (T, Vec<Vec<Write>>) {
        let load = Load { writes: self.spokes.iter().map(|_| Mutex::default()).collect() };
        let is_over = AtomicBool::new(false);
        let (spokes, hubs) = (&self.spokes, &mut self.hubs);
        let given = std::thread::scope(|scope| {
            // Also when `during` panics: the scope waits for the clients.
            let _end = Raise(&is_over);
            for (spoke, writes) in spokes.iter().zip(&load.writes) {
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::SeqCst) {
                        write(spoke, writes);
                    }
                });
            }
            during(hubs, &load)
        });
        let writes = load.writes.into_iter();
        (given, writes.map(|writes| writes.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
    }

    /// Waits until everything has arrived everywhere, and judges what clients were told.
    ///
    /// # Panics
    /// When replicas do not agree in the end.
    #[must_use]
    pub fn judge(&self, writes: &[Vec<Write>]) -> Verdict {
        let hub = self.hubs.first().expect("there are two");
        let last = settle(hub, &self.spokes);
        let wrote = |write: &Write| {
            let records = vec![format!("moment/{}", write.id)];
            Event::Wrote(history::Write {
                records,
                is_delete: false,
                is_acknowledged: write.is_acknowledged(),
            })
        };
        let client = |(spoke, writes): (&Spoke, &Vec<Write>)| Client {
            name: spoke.name.clone(),
            events: writes.iter().map(wrote).collect(),
        };
        let clients: Vec<Client> = self.spokes.iter().zip(writes).map(client).collect();
        history::judge(&clients, &log(self.folder, hub, &[], (self.first, last)))
    }

    /// How many daemons run.
    #[must_use]
    pub fn daemons(&self) -> usize {
        self.daemons.len()
    }
}

struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn write(spoke: &Spoke, writes: &Mutex<Vec<Write>>) {
    let n = writes.lock().unwrap_or_else(PoisonError::into_inner).len();
    let id = format!("{}-{n:06}", spoke.name);
    let began = Instant::now();
    let ran =
        spoke.run(&["put", "moment", &id, &format!("{{\"{}\":{}}}", spoke.name, n + 1), "--wait", "durable"]);
    let write = Write { id, began, ended: Instant::now(), ran };
    writes.lock().unwrap_or_else(PoisonError::into_inner).push(write);
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    writes: Vec<Mutex<Vec<Write>>>,
}

impl Load {
    /// Waits until each of these clients was told of so many writes that it began after a moment; gives how long after
    /// that moment the first of them ended, for the client that waited longest.
    ///
    /// # Panics
    /// When that takes longer than any wait may.
    pub fn each_again(&self, clients: impl Fn(usize) -> bool, count: usize, after: Instant) -> Duration {
        let mut longest = Duration::ZERO;
        for (_, writes) in self.writes.iter().enumerate().filter(|(n, _)| clients(*n)) {
            let first = until("a client is told of its writes again", || {
                let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
                let again: Vec<&Write> =
                    writes.iter().filter(|write| write.is_acknowledged() && write.began >= after).collect();
                again.first().filter(|_| again.len() >= count).map(|write| write.ended)
            });
            longest = longest.max(first.duration_since(after));
        }
        longest
    }
}

/// The writes that a client would have had to do something about.
#[must_use]
pub fn errors(writes: &[Vec<Write>]) -> Vec<&Write> {
    writes.iter().flatten().filter(|write| !write.is_acknowledged()).collect()
}

/// The longest time that a client waited for one answer after the next.
#[must_use]
pub fn longest_pause(writes: &[Vec<Write>]) -> Duration {
    let pause = |writes: &Vec<Write>| {
        let told: Vec<Instant> =
            writes.iter().filter(|write| write.is_acknowledged()).map(|write| write.ended).collect();
        let pauses = told.windows(2).filter_map(|pair| Some(pair.get(1)?.duration_since(*pair.first()?)));
        pauses.max().unwrap_or_default()
    };
    writes.iter().map(pause).max().unwrap_or_default()
}

/// Now.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
