//! What clients were shown: their own writes, never less than before, nothing without what it rests on, and the same
//! as others at the same revision.

use std::collections::BTreeMap;

use super::{Client, Event, Known, Log, Numbers, Read, Verdict, Writers, count, raise};

/// Judges one client's looks by what it wrote and had seen before each.
pub(super) fn judge<'a>(client: &'a Client, writers: &Writers<'a>, verdict: &mut Verdict) {
    let mut known = Known::new();
    let mut shown_before: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut writes = 0;
    for event in &client.events {
        let read = match event {
            Event::Wrote(write) => {
                writes += 1;
                if write.is_acknowledged {
                    raise(&mut known, &client.name, count(writes));
                }
                continue;
            }
            Event::Read(read) => read,
        };
        verdict.reads += 1;
        let owed = writers.closed(&known);
        let names = read.shown.iter().flat_map(|shown| shown.numbers.keys());
        verdict.made_up += names.filter(|name| !writers.0.contains_key(name.as_str())).count();
        for (name, writer) in &writers.0 {
            let is_touched = !writer.numbers(&read.record).is_empty();
            let number = number(read, name);
            if !is_touched && number == 0 {
                continue;
            }
            let before = shown_before.entry((read.record.as_str(), *name)).or_default();
            let floor = writer.owed(&read.record, owed.get(name).copied().unwrap_or_default());
            let number = match read.shown {
                Some(_) => number,
                // Nothing is shown where it was deleted too; from then on it stays away.
                None if floor.max(*before) == 0 => 0,
                None => writer.deleted(&read.record, floor.max(*before)).unwrap_or_default(),
            };
            verdict.made_up += usize::from(number > 0 && !writer.has_written(&read.record, number));
            if number < *before {
                verdict.back += 1;
            } else if number < floor && *name == client.name {
                verdict.unread += 1;
            } else if number < floor {
                verdict.uncaused += 1;
            }
            *before = number.max(*before);
            raise(&mut known, name, number);
        }
    }
}

fn number(read: &Read, name: &str) -> u64 {
    read.shown.as_ref().and_then(|shown| shown.numbers.get(name)).copied().unwrap_or_default()
}

/// At one revision of a record everybody sees the same, and it is what the log holds there.
pub(super) fn converge(clients: &[Client], log: &Log, verdict: &mut Verdict) {
    let rows =
        log.rows.iter().filter_map(|row| Some(((row.record.as_str(), row.revision), row.numbers.as_ref()?)));
    let mut held: BTreeMap<(&str, u64), &Numbers> = rows.collect();
    for event in clients.iter().flat_map(|client| &client.events) {
        let Event::Read(Read { record, shown: Some(shown) }) = event else { continue };
        let Some(revision) = shown.revision else { continue };
        let is_whole = revision > log.whole_after && (log.first + 1..=log.last).contains(&revision);
        let is_same = match held.get(&(record.as_str(), revision)) {
            Some(numbers) => **numbers == shown.numbers,
            None => !is_whole,
        };
        verdict.diverged += usize::from(!is_same);
        held.entry((record, revision)).or_insert(&shown.numbers);
    }
}
