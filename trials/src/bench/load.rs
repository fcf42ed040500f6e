//! Load: closed loops, where each client waits for its answer, and an open loop, where writes are due whether or not the
//! last one was answered. In a closed loop a latency is what that client waited; a server that stalls is asked less
//! meanwhile, so a percentile of it says nothing about clients that would not have waited. Those are measured in the open
//! loop, from the moment at which each write was due: what a stall delays counts in full.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::figures::Figures;
use super::machine::Watched;

/// Significant digits of a histogram.
const DIGITS: u8 = 3;

/// Longest latency that is told apart, nanoseconds: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// How long something is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) measure: Duration,
    /// Writes a second of an open loop.
    pub(crate) per_second: u64,
}

/// Latencies, nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("three digits are fine")
}

pub(crate) fn note(histogram: &mut Histogram<u64>, latency: Duration) {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    histogram.record(nanos.min(LONGEST_NS)).expect("it grows up to its bound");
}

/// What one step of a client brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// Operations that were answered.
    pub(crate) ops: u64,
    /// From when the oldest of them was sent.
    pub(crate) latency: Duration,
}

/// A client of a closed loop.
pub(crate) trait Client: Send + 'static {
    /// Goes on until at least one operation is answered.
    fn step(&mut self) -> impl Future<Output = Done> + Send;

    /// What else it counted.
    fn counted(&self) -> BTreeMap<&'static str, f64> {
        BTreeMap::new()
    }
}

#[derive(Debug)]
struct Tally {
    ops: u64,
    latency: Histogram<u64>,
    counted: BTreeMap<&'static str, f64>,
}

async fn run<C: Client>(mut client: C, from: Instant, until: Instant) -> (Tally, C) {
    let mut tally = Tally { ops: 0, latency: histogram(), counted: BTreeMap::new() };
    loop {
        let done = client.step().await;
        let now = Instant::now();
        if now >= until {
            tally.counted = client.counted();
            return (tally, client);
        }
        if now >= from {
            tally.ops += done.ops;
            note(&mut tally.latency, done.latency);
        }
    }
}

/// Runs the clients side by side: operations a second, latencies, processor time of those watched.
pub(crate) async fn closed<C: Client>(clients: Vec<C>, times: &Times, watched: &Watched) -> Figures {
    closed_again(clients, times, watched).await.0
}

/// As [`closed`], and gives the clients back.
pub(crate) async fn closed_again<C: Client>(
    clients: Vec<C>,
    times: &Times,
    watched: &Watched,
) -> (Figures, Vec<C>) {
    let from = Instant::now() + times.warm_up;
    let until = from + times.measure;
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(run(client, from, until));
    }
    tokio::time::sleep_until(from.into()).await;
    let watch = watched.begin();
    tokio::time::sleep_until(until.into()).await;
    let used = watch.end();
    let (mut ops, mut latency, mut counted) = (0, histogram(), BTreeMap::<&str, f64>::new());
    let mut clients = Vec::new();
    while let Some(ran) = running.join_next().await {
        let (tally, client) = ran.unwrap_or_else(|e| panic!("a client of the load failed: {e}"));
        clients.push(client);
        ops += tally.ops;
        latency.add(&tally.latency).expect("the same digits");
        tally.counted.into_iter().for_each(|(name, value)| *counted.entry(name).or_default() += value);
    }
    let mut figures = Figures::default();
    figures.set("ops/s", ops as f64 / times.measure.as_secs_f64());
    figures.latencies(&latency);
    figures.used(&used, ops as f64);
    counted.into_iter().for_each(|(name, value)| figures.set(name, value));
    (figures, clients)
}

/// Calls `write` at its times; gives when each was due. What `write` takes does not move the others.
pub(crate) async fn open<F: Future<Output = ()>>(
    times: &Times,
    mut write: impl FnMut(u64) -> F,
) -> Vec<Instant> {
    let gap = Duration::from_secs(1) / u32::try_from(times.per_second.max(1)).unwrap_or(u32::MAX);
    let (begin, all) = (Instant::now(), times.warm_up + times.measure);
    let mut due = Vec::new();
    for n in 0_u32.. {
        let at = begin + gap * n;
        if at >= begin + all {
            break;
        }
        tokio::time::sleep_until(at.into()).await;
        due.push(at);
        write(u64::from(n)).await;
    }
    due
}

/// What one subscriber was given: up to which position, and when.
pub(crate) type Receipts = Vec<(u64, Instant)>;

/// Latencies from when each write was due until each subscriber had it; the writes of the warm-up left out. Positions are
/// dense: `first` is that of the first write.
pub(crate) fn receipts(due: &[Instant], first: u64, times: &Times, all: &[Receipts]) -> Histogram<u64> {
    let mut latency = histogram();
    let Some(from) = due.first().map(|begin| *begin + times.warm_up) else { return latency };
    for received in all {
        let mut next = first;
        for (to, at) in received {
            while next <= *to {
                let index = usize::try_from(next - first).unwrap_or(usize::MAX);
                next += 1;
                if let Some(due) = due.get(index).filter(|due| **due >= from) {
                    note(&mut latency, at.duration_since(*due));
                }
            }
        }
    }
    latency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_for_every_write_that_was_due_meanwhile() {
        let begin = Instant::now();
        let times = Times { warm_up: Duration::ZERO, measure: Duration::from_secs(1), per_second: 10 };
        let due: Vec<Instant> = (0..10).map(|n| begin + Duration::from_millis(100) * n).collect();
        let at_once = vec![(7, begin + Duration::from_secs(1)), (16, begin + Duration::from_secs(1))];
        let latency = receipts(&due, 7, &times, &[at_once]);
        assert_eq!(latency.len(), 10);
        assert!(latency.value_at_quantile(0.05) >= 99_000_000, "the last one was due 100 ms before");
        assert!(latency.max() >= 1_000_000_000, "the first one waited for a second");
        assert!(latency.value_at_quantile(0.5) >= 490_000_000);
    }
}
