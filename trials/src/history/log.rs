//! What stands in the log: everything acknowledged, once, in the order in which each client wrote it, after what it
//! rests on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Log, Numbers, Row, Verdict, Writers};

/// Judges the log by what clients wrote.
pub(super) fn judge(writers: &Writers<'_>, log: &Log, verdict: &mut Verdict) {
    let mut rows: Vec<&Row> = log.rows.iter().collect();
    rows.sort_by_key(|row| row.revision);
    dense(&rows, log, verdict);
    let effects = effects(writers, &rows, log, verdict);
    ordered(writers, &effects, verdict);
    kept(writers, &rows, log, verdict);
}

/// Each revision is taken, and by one row.
fn dense(rows: &[&Row], log: &Log, verdict: &mut Verdict) {
    let taken: BTreeSet<u64> = rows.iter().map(|row| row.revision).collect();
    let whole = log.first.max(log.whole_after) + 1..=log.last;
    verdict.doubled += whole.filter(|revision| !taken.contains(revision)).count();
    verdict.doubled += rows.len() - taken.len();
}

/// A write that a revision brought: whose, its number, the revision.
struct Effect<'a> {
    name: &'a str,
    number: u64,
    revision: u64,
}

/// What each revision changed in its record. One that changed nothing did something again; one that took a number
/// back did something late.
fn effects<'a>(writers: &Writers<'a>, rows: &[&'a Row], log: &Log, verdict: &mut Verdict) -> Vec<Effect<'a>> {
    let nothing = Numbers::new();
    let mut before: BTreeMap<&str, Option<&Numbers>> = BTreeMap::new();
    let mut effects = Vec::new();
    for row in rows.iter().filter(|row| row.revision > log.first) {
        let revision = row.revision;
        let held = before.insert(&row.record, row.numbers.as_ref());
        let Some(numbers) = &row.numbers else {
            verdict.doubled += usize::from(held == Some(None));
            let delete =
                writers.0.iter().find_map(|(name, writer)| Some((name, writer.deleted(&row.record, 1)?)));
            match delete {
                Some((name, number)) => effects.push(Effect { name, number, revision }),
                None => verdict.made_up += 1,
            }
            continue;
        };
        if held.is_none() && log.whole_after > log.first && numbers.len() > 1 {
            // What it held before is gone, so who wrote last is not known.
            continue;
        }
        let held = held.flatten().unwrap_or(&nothing);
        verdict.doubled += usize::from(held == numbers);
        for (name, number) in numbers {
            let was = held.get(name).copied().unwrap_or_default();
            verdict.out_of_order += usize::from(*number < was);
            if *number <= was {
                continue;
            }
            let writer = writers.0.get_key_value(name.as_str());
            match writer.filter(|(_, writer)| writer.has_written(&row.record, *number)) {
                Some((name, _)) => effects.push(Effect { name, number: *number, revision }),
                None => verdict.made_up += 1,
            }
        }
    }
    effects
}

/// Whoever wrote: earlier writes stand earlier, and what it had seen stands before.
fn ordered(writers: &Writers<'_>, effects: &[Effect<'_>], verdict: &mut Verdict) {
    let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
    // Of each client, numbers and where they first stood, both rising once they are in order.
    let mut stood: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for effect in effects {
        let latest = latest.entry(effect.name).or_default();
        verdict.out_of_order += usize::from(effect.number < *latest);
        *latest = effect.number.max(*latest);
        stood.entry(effect.name).or_default().push((effect.number, effect.revision));
    }
    for effect in effects {
        let own = [(effect.name, effect.number)].into_iter().collect();
        for (name, number) in writers.closed(&own).iter().filter(|(name, _)| **name != effect.name) {
            let of = stood.get(name).map_or(&[][..], Vec::as_slice);
            let before = of.partition_point(|(stands, _)| stands <= number);
            let last = before.checked_sub(1).and_then(|last| of.get(last));
            verdict.uncaused += usize::from(last.is_some_and(|(_, revision)| *revision >= effect.revision));
        }
    }
}

/// In the end every record holds what was acknowledged of it last, or something later. One of which nothing is left was
/// deleted, and is gone only where the log was pruned.
fn kept(writers: &Writers<'_>, rows: &[&Row], log: &Log, verdict: &mut Verdict) {
    let is_pruned = log.whole_after > log.first;
    let last: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.record.as_str(), *row)).collect();
    for (name, writer) in &writers.0 {
        for record in writer.of.keys() {
            let owed = writer.owed(record, u64::MAX);
            let number = match last.get(record).map(|row| row.numbers.as_ref()) {
                Some(Some(numbers)) => numbers.get(*name).copied(),
                Some(None) => writer.deleted(record, owed),
                None => writer.deleted(record, owed).filter(|_| is_pruned),
            };
            let number = number.unwrap_or_default();
            verdict.lost += usize::from(number < owed);
        }
    }
}
