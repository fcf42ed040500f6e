//! What clients did and saw, held against what the hub holds: the promises as checks of one run's history. It knows
//! nothing of how either came about and shares no code with the product, so it serves runs of real processes as well
//! as others.
//!
//! Each client numbers its writes, from 1, and writes the number under its own name into whatever it touches: a record
//! tells by itself which write of whom it holds. Who has seen a write is from then on owed everything that its writer
//! had written and seen before it; that is all there is to causality, and it needs no clock.

pub mod disputes;
mod log;
mod reads;
pub mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

/// The number of the last write of each client that a record holds, by the client's name.
pub type Numbers = BTreeMap<String, u64>;

/// What a client did, begun after what stands before it had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It wrote.
    Wrote(Write),
    /// It was shown a record, or that there is none.
    Read(Read),
}

/// A write. No record but a shared one is written by two clients, and a record is deleted once at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The records that it changes, together.
    pub records: Vec<String>,
    /// Whether it deletes them.
    pub is_delete: bool,
    /// Whether the client was told that it is kept; if not, it may stand or not.
    pub is_acknowledged: bool,
}

/// A look at a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The record.
    pub record: String,
    /// What was shown; `None` = there is no such record.
    pub shown: Option<Shown>,
}

/// What a record held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands in the log; `None` = part of it is not confirmed.
    pub revision: Option<u64>,
    /// Whose writes it held.
    pub numbers: Numbers,
}

/// A client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// What it did, in its order.
    pub events: Vec<Event>,
}

/// What a revision made of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The record.
    pub record: String,
    /// The revision.
    pub revision: u64,
    /// What it holds from here on; `None` = it is deleted.
    pub numbers: Option<Numbers>,
}

/// The log, as far as it can be read in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// What stands in it, in any order. Of what was superseded only that after `whole_after`.
    pub rows: Vec<Row>,
    /// The clients began after this revision.
    pub first: u64,
    /// They were the only ones to write up to this revision.
    pub last: u64,
    /// After this revision nothing was taken away.
    pub whole_after: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Writes that clients were told are kept.
    pub acknowledged: usize,
    /// Records in which one of these stands nowhere.
    pub lost: usize,
    /// Revisions that no first write explains: an effect that happened twice leaves one behind.
    pub doubled: usize,
    /// Writes that stand before one that their client had made earlier.
    pub out_of_order: usize,
    /// What nobody wrote.
    pub made_up: usize,
    /// Looks at records.
    pub reads: usize,
    /// Looks that did not show the client its own writes.
    pub unread: usize,
    /// Looks that showed less of a record than an earlier one of the same client.
    pub back: usize,
    /// Looks that did not show what something seen before rests on, and revisions before what they rest on.
    pub uncaused: usize,
    /// Looks at one revision that showed different things, or what the log does not hold there.
    pub diverged: usize,
}

impl Verdict {
    /// Whether every promise was kept. A run in which nobody was told anything shows nothing.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let of_log = self.lost + self.doubled + self.out_of_order + self.made_up;
        let of_reads = self.unread + self.back + self.uncaused + self.diverged;
        self.acknowledged > 0 && of_log + of_reads == 0
    }

    /// What the looks came to, in a sentence.
    #[must_use]
    pub fn of_reads(&self) -> String {
        let Self { reads, unread, back, uncaused, diverged, .. } = self;
        format!(
            "{reads} reads, {unread} without their own writes, {back} gone back, {uncaused} without a cause, \
             {diverged} diverged"
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, lost, doubled, out_of_order, .. } = self;
        write!(f, "{acknowledged} acknowledged, {lost} lost, {doubled} doubled, {out_of_order} out of order")
    }
}

/// Judges what `clients` did and saw by what stands in the log in the end.
#[must_use]
pub fn judge(clients: &[Client], log: &Log) -> Verdict {
    let writers = Writers::of(clients);
    let mut verdict = judge_reads(clients);
    verdict.acknowledged =
        writers.0.values().flat_map(|writer| &writer.writes).filter(|write| write.is_acknowledged).count();
    log::judge(&writers, log, &mut verdict);
    reads::converge(clients, log, &mut verdict);
    verdict
}

/// Judges only what clients did and saw, where nobody looked at the log.
#[must_use]
pub fn judge_reads(clients: &[Client]) -> Verdict {
    let writers = Writers::of(clients);
    let mut verdict = Verdict::default();
    for client in clients {
        reads::judge(client, &writers, &mut verdict);
    }
    verdict
}

/// How far each client's writes are known, by name.
type Known<'a> = BTreeMap<&'a str, u64>;

/// What one client wrote.
#[derive(Default)]
struct Writer<'a> {
    writes: Vec<&'a Write>,
    /// Numbers of the writes of each record.
    of: BTreeMap<&'a str, Vec<u64>>,
    /// What it had seen of the others before each write.
    saw: Vec<Known<'a>>,
}

/// All of them, by name.
struct Writers<'a>(BTreeMap<&'a str, Writer<'a>>);

impl<'a> Writers<'a> {
    fn of(clients: &'a [Client]) -> Self {
        Self(clients.iter().map(|client| (client.name.as_str(), Writer::new(client))).collect())
    }

    /// Everything that comes with what is known: what the writers had seen before they wrote, and so on.
    fn closed(&self, known: &Known<'a>) -> Known<'a> {
        let mut known = known.clone();
        loop {
            let mut more = known.clone();
            for (name, number) in &known {
                let saw = self.0.get(name).and_then(|writer| writer.saw.get(index(*number)?));
                for (other, number) in saw.into_iter().flatten() {
                    raise(&mut more, other, *number);
                }
            }
            if more == known {
                return known;
            }
            known = more;
        }
    }
}

impl<'a> Writer<'a> {
    fn new(client: &'a Client) -> Self {
        let mut writer = Self::default();
        let mut seen = Known::new();
        for event in &client.events {
            match event {
                Event::Wrote(write) => {
                    writer.writes.push(write);
                    writer.saw.push(seen.clone());
                    let number = count(writer.writes.len());
                    for record in &write.records {
                        writer.of.entry(record).or_default().push(number);
                    }
                }
                Event::Read(Read { shown: Some(shown), .. }) => {
                    for (name, number) in shown.numbers.iter().filter(|(name, _)| **name != client.name) {
                        raise(&mut seen, name, *number);
                    }
                }
                Event::Read(_) => {}
            }
        }
        writer
    }

    fn write(&self, number: u64) -> Option<&Write> {
        self.writes.get(index(number)?).copied()
    }

    /// Numbers of the writes of a record, in order.
    fn numbers(&self, record: &str) -> &[u64] {
        self.of.get(record).map_or(&[], Vec::as_slice)
    }

    fn has_written(&self, record: &str, number: u64) -> bool {
        self.numbers(record).binary_search(&number).is_ok()
    }

    /// The last acknowledged write of a record up to a number; 0 = none.
    fn owed(&self, record: &str, up_to: u64) -> u64 {
        let numbers = self.numbers(record);
        let (before, _) = numbers.split_at(numbers.partition_point(|number| *number <= up_to));
        let is_kept = |number: &&u64| self.write(**number).is_some_and(|write| write.is_acknowledged);
        before.iter().rev().find(is_kept).copied().unwrap_or_default()
    }

    /// The write, no earlier than another, that deletes a record, acknowledged or not.
    fn deleted(&self, record: &str, from: u64) -> Option<u64> {
        let is_delete = |number: &&u64| self.write(**number).is_some_and(|write| write.is_delete);
        self.numbers(record).iter().filter(|number| **number >= from).find(is_delete).copied()
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn raise<'a>(known: &mut Known<'a>, name: &'a str, number: u64) {
    let before = known.entry(name).or_default();
    *before = number.max(*before);
}
