//! The machine that is measured on, and what processes use of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

use super::ground::Ground;
use crate::process::Folder;

/// Processor time is told in hundredths of a second.
const TICK_US: f64 = 10_000.0;
/// Flushes that are timed.
const FLUSHES: usize = 200;
/// Bytes that each of them writes.
const FLUSH_BYTES: usize = 4_096;
/// Names a program that runs beside each measurement of a server, with the server's process id; SIGINT ends it.
const BESIDE: &str = "BENCH_BESIDE";

/// As it is told beside the figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) postgres: String,
    pub(crate) sqlite: String,
    /// 4 KiB written and flushed, the middle one of 200, milliseconds.
    pub(crate) flush_ms: f64,
    /// Jobs that were running or ready in the minute before.
    pub(crate) load_before: String,
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn line(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find(|line| line.starts_with(name));
    found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

pub(crate) fn describe(ground: &Ground) -> Machine {
    let memory = line("/proc/meminfo", "MemTotal");
    let kib: f64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Machine {
        date: said("date", &["-u", "+%Y-%m-%d"]),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        processor: line("/proc/cpuinfo", "model name"),
        memory_gib: (kib / 1024.0 / 1024.0).round(),
        kernel: said("uname", &["-sr"]),
        postgres: ground.postgres.as_ref().map_or_else(|| "none".to_owned(), |it| it.version.clone()),
        sqlite: rusqlite::version().to_owned(),
        flush_ms: flush_ms(),
        load_before: load.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

fn flush_ms() -> f64 {
    let folder = Folder::new("bench-flush");
    let mut file = std::fs::File::create(folder.path().join("file")).expect("a file");
    let mut took: Vec<f64> = Vec::new();
    for _ in 0..FLUSHES {
        let begin = Instant::now();
        file.write_all(&[7; FLUSH_BYTES]).and_then(|()| file.sync_data()).expect("a file is written");
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    super::figures::spread(took).map_or(0.0, |spread| spread.median)
}

/// A session is a file; a shell gives few as a rule. How many they are then.
pub(crate) fn raise_open_files() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Who may not raise it goes on with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Processor time, microseconds, by what is watched.
pub(crate) type Used = BTreeMap<&'static str, f64>;

/// Processes whose processor time is told: `load` is this one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    /// One process.
    pub(crate) server: Option<u32>,
    /// A process with its children.
    pub(crate) database: Option<u32>,
}

impl Watched {
    pub(crate) fn server(id: u32) -> Self {
        Self { server: Some(id), database: None }
    }

    /// From here on it counts.
    pub(crate) fn begin(&self) -> Watch<'_> {
        let beside = self.server.zip(std::env::var_os(BESIDE)).map(|(id, program)| {
            let started = Command::new(&program).arg(id.to_string()).spawn();
            started.unwrap_or_else(|e| panic!("{}: {e}", program.display()))
        });
        Watch { watched: self, before: self.used(), beside }
    }

    fn used(&self) -> Used {
        let mut used = Used::from([("load", of_process(std::process::id()))]);
        used.extend(self.server.map(|id| ("server", of_process(id))));
        used.extend(self.database.map(|id| ("database", of_family(id))));
        used
    }
}

/// What is being measured.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    watched: &'a Watched,
    before: Used,
    beside: Option<Child>,
}

impl Watch<'_> {
    /// Processor time used meanwhile.
    pub(crate) fn end(self) -> Used {
        let Self { watched, before, beside } = self;
        let since = |(name, after): (&'static str, f64)| {
            (name, after - before.get(name).copied().unwrap_or_default())
        };
        let used = watched.used().into_iter().map(since).collect();
        if let Some(mut beside) = beside {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(&beside), Signal::INT);
            let _ = beside.wait();
        }
        used
    }
}

/// Processor time of a process so far, microseconds: fields 14 and 15 of `/proc/ID/stat`, after the name in parentheses.
pub(crate) fn of_process(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks * TICK_US
}

fn of_family(id: u32) -> f64 {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children: f64 = children.split_whitespace().filter_map(|id| id.parse().ok()).map(of_process).sum();
    of_process(id) + children
}

/// Resident memory of a process, KiB.
pub(crate) fn resident_kib(id: u32) -> f64 {
    let text = line(&format!("/proc/{id}/status"), "VmRSS");
    text.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}
