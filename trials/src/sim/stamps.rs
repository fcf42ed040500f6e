//! When a write may be refused because it is not stamped after what it was made on. A spoke knows its base and stamps
//! after that, whatever the clocks did; in two cases alone it cannot know.

use gateway::store::LogRow;
use semantics::ids::Dot;
use semantics::outcome::{DotOutcome, Outcome};
use semantics::reason::Reason;

use super::oracle::{Log, ensure};

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
    let base = log.rows.iter().rev().find(is_named);
    let excuse =
        base.filter(|base| is_sent_ahead(log, told.dot, base) || is_given_twice(log, base.dot, before));
    ensure!(excuse.is_some(), "{} was refused for its stamp: {}", told.dot, refusal.detail);
    Ok(true)
}

/// Another copy of the author's replica sent it, under a time after the hub's own: its clock ran ahead, or here one
/// stands still. Of such a time nobody else hears before it comes back.
fn is_sent_ahead(log: &Log, author: Dot, base: &LogRow) -> bool {
    let is_of_copy = base.dot.writer.node == author.writer.node && base.dot.writer != author.writer;
    let taken =
        log.commits.iter().find(|commit| commit.first <= base.revision && base.revision <= commit.last);
    let sent_ms = base.mutation.as_ref().map(|mutation| mutation.time.ms);
    is_of_copy && taken.zip(sent_ms).is_some_and(|(commit, sent_ms)| sent_ms > commit.time_ms)
}

/// The hub's old disk was put back unsaid, and the dot means something else than before: a base may name what its
/// author never saw.
fn is_given_twice(log: &Log, dot: Dot, before: Option<&Log>) -> bool {
    let Some(before) = before else { return false };
    let sent = |log: &Log| {
        let row = log.rows.iter().find(|row| row.dot == dot)?;
        row.mutation.as_ref().map(|mutation| (mutation.id, mutation.time))
    };
    before.dots.contains_key(&dot) && sent(before) != sent(log)
}
