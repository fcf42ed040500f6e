//! Real processes under load while they are killed, stopped and cut off, and what came of it.
//!
//! Each spoke's client writes, one write after the other, and looks around after each; a write that answered is
//! acknowledged by the replica's disk, and must reach the hub once and in order whatever happens to daemons, gateways,
//! database and network meanwhile, and no look may show less than what was written and seen before.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "harness of tests: a panic is how a test fails"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::{BOARD, Crew, Worker};
use crate::disk::Disk;
use crate::fleet::{Hub, Spoke};
use crate::history::{Event, Verdict, judge};
use crate::process::{Folder, Postgres, Process};
use crate::proxy::Proxy;
use crate::settle::{log, settle};
use crate::sim::rng::Rng;

/// Spokes that write.
const SPOKES: usize = 3;
/// Between two faults, milliseconds, at least and at most.
const CALM_MS: (u64, u64) = (100, 500);
/// How long a fault that ends by itself lasts, milliseconds, at least and at most.
const FAULT_MS: (u64, u64) = (50, 1_500);

/// Where the hub keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// One gateway on SQLite.
    Sqlite,
    /// Two gateways on Postgres.
    Postgres,
}

/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a gateway, and a start.
    KillGateway,
    /// SIGKILL of a spoke's daemon, and a start.
    KillSpoke,
    /// SIGKILL of the database, and a start; of a gateway where there is no other process.
    KillDatabase,
    /// SIGSTOP of a gateway for a while.
    StopGateway,
    /// The network ends every connection and takes none for a while.
    Cut,
    /// The network lets nothing through for a while.
    Hold,
    /// The network is slow for a while.
    Slow,
    /// The disk of a spoke, or of a gateway that keeps its store on it, is full for a while; half of the time the
    /// process is killed while it is.
    FullDisk,
}

/// What ends a process with SIGKILL, as often as each is drawn.
const KILLS: [Fault; 6] = [
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::KillSpoke,
    Fault::KillSpoke,
    Fault::KillDatabase,
];

/// What else a round may bring, half of the time and before its kill.
const OTHERS: [Fault; 6] =
    [Fault::StopGateway, Fault::Cut, Fault::Hold, Fault::Slow, Fault::FullDisk, Fault::FullDisk];

/// Hubs, spokes and the network between them.
pub(crate) struct Fleet {
    postgres: Option<Postgres>,
    hubs: Vec<Hub>,
    proxies: Vec<Proxy>,
    spokes: Vec<Spoke>,
    daemons: Vec<Option<Process>>,
    /// One for each gateway.
    hub_disks: Vec<Disk>,
    /// One for each spoke.
    spoke_disks: Vec<Disk>,
}

/// A disk of its own, in a folder of its own.
fn disk(folder: &Folder, name: &str) -> Disk {
    let folder = folder.path().join(format!("disk-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder is made");
    Disk::under(&folder)
}

/// So many rounds of faults drawn from a seed; `None`, loudly, where the database is not installed.
///
/// # Panics
/// When a process does not come back, or replicas do not agree in the end.
#[must_use]
pub fn run(database: Database, rounds: usize, seed: u64) -> Option<Verdict> {
    let folder = Folder::new("chaos");
    let mut fleet = Fleet::start(&folder, database)?;
    let mut rng = Rng::new(seed);
    let first = fleet.prepare();
    let is_over = AtomicBool::new(false);
    let spokes = fleet.clients();
    let crew = Crew::of(spokes.iter().map(|spoke| spoke.name.as_str()));
    let mut workers: Vec<Worker<'_>> =
        spokes.iter().enumerate().map(|(place, spoke)| Worker::new(spoke, &crew, place)).collect();
    std::thread::scope(|scope| {
        // Also when a round panics: the scope waits for the clients.
        let _end = Raise(&is_over);
        for worker in &mut workers {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    worker.step();
                }
            });
        }
        for round in 1..=rounds {
            fleet.round(round, &mut rng);
            println!("{} writes", crew.writes());
        }
    });
    let hub = fleet.hub();
    let last = settle(hub, &fleet.spokes);
    let written =
        workers.iter().flat_map(|worker| &worker.history().events).filter_map(|event| match event {
            Event::Wrote(write) => Some(write.records.iter()),
            Event::Read(_) => None,
        });
    let written: BTreeSet<String> = written.flatten().cloned().collect();
    for worker in &mut workers {
        worker.look_at_all(&written);
    }
    let clients: Vec<_> = workers.into_iter().map(Worker::into_history).collect();
    Some(judge(&clients, &log(&folder, hub, &crew.rewritten(&clients), (first, last))))
}

/// Says that it is over when it is dropped.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[allow(clippy::disallowed_methods, reason = "a fault lasts for a time, and comes at any time")]
fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

impl Fleet {
    pub(crate) fn start(folder: &Folder, database: Database) -> Option<Self> {
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(Postgres::start(folder)?),
        };
        let near = Hub::start(folder, false, postgres.as_ref().map(|postgres| postgres.url.as_str()));
        let far = postgres.is_some().then(|| near.beside(folder, "far"));
        let mut hubs: Vec<Hub> = [Some(near), far].into_iter().flatten().collect();
        let hub_disks: Vec<Disk> = (0..hubs.len()).map(|n| disk(folder, &format!("hub{n}"))).collect();
        for (hub, disk) in hubs.iter_mut().zip(&hub_disks) {
            for (name, value) in disk.environment() {
                hub.set(&name, &value);
            }
            let _ = hub.terminate();
            hub.restart();
        }
        let proxies: Vec<Proxy> = hubs.iter().map(|hub| Proxy::before(&hub.address())).collect();
        let urls: Vec<String> = proxies.iter().map(|proxy| format!("https://{}", proxy.address())).collect();
        let mut spokes = Vec::new();
        for (n, hub) in hubs.iter().cycle().take(SPOKES).enumerate() {
            // Not all begin with the same gateway.
            let mut urls = urls.clone();
            let turns = n % urls.len();
            urls.rotate_left(turns);
            spokes.push(Spoke::join_at(folder, hub, &urls, &format!("spoke{n}")));
        }
        let spoke_disks: Vec<Disk> = spokes.iter().map(|spoke| disk(folder, &spoke.name)).collect();
        let daemons = spokes.iter().zip(&spoke_disks);
        let daemons = daemons.map(|(spoke, disk)| Some(spoke.daemon_in(&disk.environment()))).collect();
        Some(Self { postgres, hubs, proxies, spokes, daemons, hub_disks, spoke_disks })
    }

    pub(crate) fn hub(&self) -> &Hub {
        self.hubs.first().expect("there is a hub")
    }

    /// The spokes, for clients that work while their daemons come and go.
    pub(crate) fn clients(&self) -> Vec<Spoke> {
        let client = |spoke: &Spoke| Spoke { data: spoke.data.clone(), name: spoke.name.clone() };
        self.spokes.iter().map(client).collect()
    }

    /// A calm time, and the faults that a round brings.
    pub(crate) fn round(&mut self, round: usize, rng: &mut Rng) {
        pause(rng.range(CALM_MS.0, CALM_MS.1));
        let other = if rng.range(0, 1) == 1 { rng.pick(&OTHERS) } else { None };
        let kill = rng.pick(&KILLS);
        let faults: Vec<Fault> = [other, kill].into_iter().flatten().copied().collect();
        println!("round {round}: {faults:?}");
        faults.into_iter().for_each(|fault| self.suffer(fault, rng));
    }

    /// Starts every gateway anew with more environment variables.
    pub(crate) fn set(&mut self, variables: &[(&str, &str)]) {
        for hub in &mut self.hubs {
            variables.iter().for_each(|(name, value)| hub.set(name, value));
            let _ = hub.terminate();
            hub.restart();
        }
    }

    /// While no gateway is there.
    pub(crate) fn without_hubs(&mut self, act: impl FnOnce()) {
        self.hubs.iter_mut().for_each(Hub::kill);
        act();
        self.hubs.iter_mut().for_each(Hub::restart);
    }

    /// Makes what all share, and gives the revision after which the clients begin.
    fn prepare(&self) -> u64 {
        let first = self.spokes.first().expect("there are spokes");
        let (kind, id) = BOARD.split_once('/').expect("kind/id");
        first.ok(&["put", kind, id, "{}"]);
        for spoke in &self.spokes {
            spoke.ok(&["sync"]);
        }
        first.digest().0
    }

    fn suffer(&mut self, fault: Fault, rng: &mut Rng) {
        let lasts_ms = rng.range(FAULT_MS.0, FAULT_MS.1);
        let (gateway, spoke) = (rng.index(self.hubs.len()), rng.index(self.spokes.len()));
        match (fault, &self.postgres) {
            (Fault::KillDatabase, Some(postgres)) => postgres.kill_and_start(),
            (Fault::KillGateway | Fault::KillDatabase, _) => {
                let hub = self.hubs.get_mut(gateway).expect("an index");
                hub.kill();
                hub.restart();
            }
            (Fault::KillSpoke, _) => {
                self.kill_spoke(spoke);
                self.start_spoke(spoke);
            }
            // The database has another disk than the gateways.
            (Fault::FullDisk, None) if rng.below(2) == 0 => self.fill_disk_of_hub(gateway, lasts_ms, rng),
            (Fault::FullDisk, _) => self.fill_disk_of_spoke(spoke, lasts_ms, rng),
            (Fault::StopGateway, _) => {
                let hub = self.hubs.get(gateway).expect("an index");
                hub.process().signal("-STOP");
                pause(lasts_ms);
                hub.process().signal("-CONT");
            }
            (Fault::Cut | Fault::Hold | Fault::Slow, _) => {
                let proxy = self.proxies.get(gateway).expect("an index");
                match fault {
                    Fault::Cut => proxy.cut(),
                    Fault::Hold => proxy.hold(),
                    _ => proxy.slow(rng.range(1, 100)),
                }
                pause(lasts_ms);
                proxy.heal();
            }
        }
    }

    fn fill_disk_of_hub(&mut self, gateway: usize, lasts_ms: u64, rng: &mut Rng) {
        let (hub, disk) = (self.hubs.get_mut(gateway), self.hub_disks.get(gateway));
        let (hub, disk) = (hub.expect("an index"), disk.expect("an index"));
        disk.fill();
        pause(lasts_ms);
        let is_killed = rng.below(2) == 0;
        if is_killed {
            hub.kill();
        }
        disk.empty();
        if is_killed {
            hub.restart();
        }
    }

    fn fill_disk_of_spoke(&mut self, spoke: usize, lasts_ms: u64, rng: &mut Rng) {
        self.spoke_disks.get(spoke).expect("an index").fill();
        pause(lasts_ms);
        let is_killed = rng.below(2) == 0;
        if is_killed {
            self.kill_spoke(spoke);
        }
        self.spoke_disks.get(spoke).expect("an index").empty();
        if is_killed {
            self.start_spoke(spoke);
        }
    }

    fn kill_spoke(&mut self, spoke: usize) {
        if let Some(daemon) = self.daemons.get_mut(spoke).expect("an index").take() {
            daemon.kill();
        }
    }

    fn start_spoke(&mut self, spoke: usize) {
        let environment = self.spoke_disks.get(spoke).expect("an index").environment();
        let daemon = self.spokes.get(spoke).expect("an index").daemon_again_in(&environment);
        *self.daemons.get_mut(spoke).expect("an index") = Some(daemon);
    }
}
