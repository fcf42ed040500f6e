//! When a write may be refused because it is not stamped after what it was made on. A spoke knows its base and stamps
//! after that, whatever the clocks did; in three cases alone it cannot know.

use gateway::store::LogRow;
use semantics::clock::HybridTime;
use semantics::envelope::Record;
use semantics::ids::{Dot, MutationId};
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::Reason;

use super::oracle::{Log, ensure};

/// A mutation that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    dot: Dot,
    id: MutationId,
    time: HybridTime,
    /// The time of its commit, milliseconds since 1970-01-01 UTC.
    taken_ms: u64,
    /// Whether the record stood, then or later, with no stamp as late as this: a delete had won, or it had lost itself.
    is_hidden: bool,
}

/// Checks an outcome that stands in the log, against the log that was before a backup was put back. Whether it is a
/// refusal that is excused.
///
/// # Errors
/// A refusal that nothing excuses.
pub(super) fn check(log: &Log, told: &DotOutcome, before: Option<&Log>) -> Result<bool, String> {
    let Outcome::Rejected(refusal) = &told.outcome else { return Ok(false) };
    if refusal.reason != Reason::StampBeforeBase {
        return Ok(false);
    }
    let is_named = |row: &&LogRow| refusal.detail.ends_with(&format!(" of {} in its base", row.dot));
    let base = log.rows.iter().rev().find(is_named).and_then(|row| sent(log, row));
    let meant = before.zip(base.as_ref()).filter(|(before, base)| before.dots.contains_key(&base.dot));
    let meant = meant.map(|(before, base)| {
        before.rows.iter().find(|row| row.dot == base.dot).and_then(|row| sent(before, row))
    });
    let is_excused = base.as_ref().is_some_and(|base| {
        let is_other = |meant| is_given_twice(base, meant) || was_hidden(meant);
        is_sent_ahead(told.dot, base) || meant.is_some_and(is_other)
    });
    ensure!(
        is_excused,
        "{} was refused for its stamp: {} ({base:?}, before {meant:?})",
        told.dot,
        refusal.detail
    );
    Ok(true)
}

fn sent(log: &Log, row: &LogRow) -> Option<Sent> {
    let mutation = row.mutation.as_ref()?;
    let holds = |first, last| first <= row.revision && row.revision <= last;
    let taken = log.commits.iter().find(|commit| holds(commit.first, commit.last))?;
    let later =
        log.rows.iter().filter(|later| later.revision >= row.revision && later.record.key == row.record.key);
    let is_hidden = later.map(|later| newest(&later.record)).any(|newest| newest < mutation.time);
    Some(Sent { dot: row.dot, id: mutation.id, time: mutation.time, taken_ms: taken.time_ms, is_hidden })
}

fn newest(record: &Record) -> HybridTime {
    let stamps = record.fields.values().map(|field| &field.stamp);
    let stamps = stamps.chain([&record.stamp, &record.placement_stamp]);
    stamps.map(|stamp| stamp.time).max().unwrap_or_default()
}

/// Another copy of the author's replica sent it, under a time after the hub's own: its clock ran ahead, or here one
/// stands still. Of such a time nobody else hears before it comes back.
fn is_sent_ahead(author: Dot, base: &Sent) -> bool {
    let is_of_copy = base.dot.writer.node == author.writer.node && base.dot.writer != author.writer;
    is_of_copy && base.time.ms > base.taken_ms
}

/// The hub's old disk was put back unsaid, and the dot means something else than before (`None` = it had no effect): a
/// base may name what its author never saw.
fn is_given_twice(base: &Sent, meant: Option<Sent>) -> bool {
    meant.is_none_or(|meant| (meant.id, meant.time) != (base.id, base.time))
}

/// In the log before its stamp had gone from the record, so that who saw the record did not see it; the log that goes on
/// from a backup took things back in another order, and there it stands.
fn was_hidden(meant: Option<Sent>) -> bool {
    meant.is_some_and(|meant| meant.is_hidden)
}

#[cfg(test)]
mod tests {
    use semantics::ids::{NodeId, Writer};

    use super::*;

    fn dot(node: u8, epoch: u32) -> Dot {
        Dot { writer: Writer { node: NodeId([node; 16]), epoch }, n: 3 }
    }

    fn base(dot: Dot, ms: u64) -> Sent {
        Sent {
            dot,
            id: MutationId([1; 16]),
            time: HybridTime { ms, counter: 0 },
            taken_ms: 1_000,
            is_hidden: false,
        }
    }

    #[test]
    fn only_what_a_copy_sent_under_a_time_after_the_hubs_is_excused() {
        let author = dot(1, 2);
        assert!(is_sent_ahead(author, &base(dot(1, 1), 1_001)));
        assert!(!is_sent_ahead(author, &base(dot(1, 1), 1_000)), "the hub's time is known");
        assert!(!is_sent_ahead(author, &base(dot(1, 2), 1_001)), "its own time is known");
        assert!(
            !is_sent_ahead(author, &base(dot(2, 1), 1_001)),
            "what others sent is known where it is seen"
        );
    }

    #[test]
    fn a_dot_that_means_what_it_meant_is_not_given_twice() {
        let base = base(dot(1, 1), 500);
        let same = Some(Sent { taken_ms: 900, ..base });
        assert!(!is_given_twice(&base, same) && !was_hidden(same));
        assert!(was_hidden(Some(Sent { is_hidden: true, ..base })));
        assert!(is_given_twice(&base, None));
        assert!(is_given_twice(&base, Some(Sent { id: MutationId([2; 16]), ..base })));
        assert!(is_given_twice(&base, Some(Sent { time: HybridTime { ms: 501, counter: 0 }, ..base })));
    }
}
