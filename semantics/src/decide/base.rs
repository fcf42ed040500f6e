//! The rules about what a mutation was made on.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Retired;
use crate::envelope::{Mutation, Op, Record};
use crate::ids::Dot;
use crate::join::life::Life;
use crate::kind::{Policy, Rule};
use crate::reason::{Reason, Refusal};
use crate::version::Version;

/// How many incarnations a put on an unknown base may be ahead of the record. The log may have been restored to a time
/// before so many re-creations; no node can use the numbers up, after which nobody could create the record again.
pub(super) const INCARNATION_LEAP_MAX: u64 = 1_024;

/// How a mutation's base stands to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The author saw the record as it is.
    Sequential,
    /// The author saw a part of it.
    Concurrent,
    /// The author saw something that this record never held (the log was restored, or the record was collected
    /// and created anew): concurrent, without an ancestor.
    Unknown,
}

/// The mutations of the record that the author had seen, its own unconfirmed one included.
pub(super) fn seen(mutation: &Mutation) -> Cow<'_, Version> {
    let base = &mutation.base;
    match base.own {
        Some(own) if !base.version.contains(own) => Cow::Owned(base.version.clone().with(own)),
        Some(_) | None => Cow::Borrowed(&base.version),
    }
}

/// A base on an absent record is never a create: what it was made on was refused, or is gone.
pub(super) fn check_absent(mutation: &Mutation) -> Result<(), Refusal> {
    if let Some(own) = mutation.base.own {
        return Err(Refusal::new(Reason::DependsOn, own.to_string()));
    }
    if mutation.base.version.is_empty() {
        Ok(())
    } else {
        Err(gone(mutation, "it was deleted and collected"))
    }
}

/// A causally later write never loses a tie, because it is stamped after everything it saw.
pub(super) fn check_stamp(
    current: &Record,
    before: &Life,
    mutation: &Mutation,
    seen: &Version,
) -> Result<(), Refusal> {
    let mut stamps = before.stamps().chain([current.placement_stamp]);
    match stamps.find(|stamp| seen.contains(stamp.dot) && *stamp >= mutation.stamp()) {
        None => Ok(()),
        Some(stamp) => {
            let detail =
                format!("{} is not after {} of {} in its base", mutation.time, stamp.time, stamp.dot);
            Err(Refusal::new(Reason::StampBeforeBase, detail))
        }
    }
}

/// An append-only record is put once; a tombstone that the author saw may be created on.
pub(super) fn check_append_only(
    current: &Record,
    mutation: &Mutation,
    rule: &Rule,
    seen: &Version,
) -> Result<(), Refusal> {
    let is_put = matches!(mutation.op, Op::Put { .. });
    let creates = seen.is_empty() || current.is_deleted() && seen.contains(current.stamp.dot);
    if rule.policy != Policy::AppendOnly || !is_put || creates {
        return Ok(());
    }
    Err(Refusal::new(Reason::AppendOnly, format!("{} is already written", mutation.key)))
}

/// Where the base stands, or why nothing can be made of it.
pub(super) fn standing(
    current: &Record,
    mutation: &Mutation,
    retired: &Retired,
) -> Result<Standing, Refusal> {
    let base = &mutation.base;
    if let Some(own) = base.own.filter(|own| !current.version.contains(*own)) {
        return Err(Refusal::new(Reason::DependsOn, own.to_string()));
    }
    let is_retired = |dot: &Dot| retired.writers.contains(&dot.writer);
    let mut missing = base.version.beyond(&current.version).filter(|dot| !is_retired(dot)).peekable();
    if missing.peek().is_none() {
        let is_whole = current.version.is_within(&seen(mutation));
        return Ok(if is_whole { Standing::Sequential } else { Standing::Concurrent });
    }
    if missing.any(|dot| dot.writer == mutation.dot.writer) {
        // Confirmed to its author, so it had taken effect, and yet this record never held it.
        return Err(gone(mutation, "it was collected and created anew"));
    }
    Ok(Standing::Unknown)
}

/// Which incarnation a mutation may speak about.
pub(super) fn check_incarnation(
    current: &Record,
    mutation: &Mutation,
    seen: &Version,
    standing: Standing,
) -> Result<(), Refusal> {
    let is_put = matches!(mutation.op, Op::Put { .. });
    let is_unknown = standing == Standing::Unknown;
    match mutation.incarnation.cmp(&current.incarnation) {
        Ordering::Greater => {
            // Not the whole tombstone's version: a second delete, or a change that lost to the first, may have
            // come between without making the creation any less one.
            let creates_on_tombstone = current.is_deleted()
                && !seen.is_empty()
                && mutation.incarnation == current.incarnation.next();
            let leap = mutation.incarnation.0 - current.incarnation.0;
            if is_put && (creates_on_tombstone || is_unknown && leap <= INCARNATION_LEAP_MAX) {
                return Ok(());
            }
            Err(gone(mutation, "only a put on its tombstone begins the next incarnation"))
        }
        Ordering::Equal => {
            let saw_tombstone = current.is_deleted() && seen.contains(current.stamp.dot);
            if saw_tombstone && mutation.op != Op::Delete {
                return Err(gone(mutation, "it is deleted: put it with the next incarnation"));
            }
            Ok(())
        }
        Ordering::Less if is_unknown => Err(gone(mutation, "it was created anew since")),
        Ordering::Less => Ok(()),
    }
}

fn gone(mutation: &Mutation, why: &str) -> Refusal {
    let detail = format!("{} as the author knew it is gone: {why}", mutation.key);
    Refusal::new(Reason::RecordGone, detail)
}
