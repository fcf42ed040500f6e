//! Conflict records: both sides and the ancestor, by log revision, so that nothing that lost is gone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::ids::{Dot, Key, RecordId, Revision};
use crate::matrix::Cause;
use crate::resolution::Resolution;
use crate::version::Version;

/// Most sides one conflict names beside the primary; older losing sides of the same writer are replaced first,
/// then the oldest is only counted.
pub const CONFLICT_SIDES_MAX: usize = 8;
/// Most open conflicts (paths) on one record; further ones are merged into the conflict with the empty path.
pub const OPEN_CONFLICTS_MAX: usize = 64;

/// What sort of disagreement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictType {
    /// Two changes of one value, neither of which had seen the other.
    Version,
    /// A delete beside a change that had not seen it.
    Deletion,
    /// Two bodies under one id of an append-only kind, by two authors.
    Collision,
    /// Two bodies under one id of an append-only kind, by one author.
    Equivocation,
}

impl ConflictType {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Deletion => "deletion",
            Self::Collision => "collision",
            Self::Equivocation => "equivocation",
        }
    }
}

/// The names of every type that a conflict is shown with.
pub const TYPE_NAMES: [&str; 7] =
    ["version", "divergent", "split-brain", "corruption", "deletion", "collision", "equivocation"];

/// A type as it is shown and asked for: of two changes of one value how they came apart, where that is known, and
/// otherwise what the sides disagree about.
#[must_use]
pub const fn type_name(conflict_type: ConflictType, cause: Option<Cause>) -> &'static str {
    match (conflict_type, cause) {
        (ConflictType::Version, Some(cause)) => cause.name(),
        (conflict_type, _) => conflict_type.name(),
    }
}

/// One path on which the mutation and the record disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// Top-level field, or empty for the whole record.
    pub path: String,
    /// What sort of disagreement.
    pub conflict_type: ConflictType,
    /// Whose value stands.
    pub winner: Stamp,
    /// Whose value does not.
    pub loser: Stamp,
    /// Whether the loser is a collapsed identity that gave way to a healthy one.
    pub is_collapse: bool,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The mutation.
    pub stamp: Stamp,
    /// Its log revision.
    pub revision: Revision,
}

/// The body of a record of the kind `conflict`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The record it is about.
    pub subject: Key,
    /// Top-level field, or empty for the whole record.
    pub path: String,
    /// What sort of disagreement.
    pub conflict_type: ConflictType,
    /// How the sides came apart, where the kind's policy asks; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The last collapsed state of an identity that gave way to a healthy one, if there was one: those who see the conflict
    /// learn of the collapse by it, whatever became of it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapsed: Option<Stamp>,
    /// The side whose value stands.
    pub primary: Side,
    /// The sides whose values do not, oldest first, at most [`CONFLICT_SIDES_MAX`].
    pub losers: Vec<Side>,
    /// Losing sides that were counted only.
    pub dropped: u64,
    /// Log revision of the common ancestor; [`Revision::ZERO`] = there was none, or it is unknown.
    pub ancestor: Revision,
    /// Whether nobody has settled it.
    pub open: bool,
    /// How it was last settled, if it ever was; stays when that was undone, and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
}

/// Id of a conflict record: SHA-256 over (kind, id, path, first losing dot), in hexadecimal (see
/// [`crate::digest::conflict_id`]).
#[must_use]
pub fn id(subject: &Key, path: &str, first_loser: Dot) -> RecordId {
    crate::digest::conflict_id(subject, path, first_loser)
}

/// The conflict of a path after one more clash: a new one, or the open one of that path grown.
///
/// `winner` and `loser` are the clash's two sides with their log revisions, `base` is the version that the
/// incoming mutation's author had seen. What a writer has itself written over is no side any more, so that ten
/// thousand edits made offline on one base stay one side.
#[must_use]
pub fn fold(
    open: Option<(RecordId, Conflict)>,
    subject: &Key,
    clash: &Clash,
    (winner, loser): (Side, Side),
    ancestor: Revision,
    base: &Version,
) -> (RecordId, Conflict) {
    let (id, mut conflict) = open.unwrap_or_else(|| {
        let conflict = Conflict {
            subject: subject.clone(),
            path: clash.path.clone(),
            conflict_type: clash.conflict_type,
            cause: None,
            collapsed: None,
            primary: winner.clone(),
            losers: Vec::new(),
            dropped: 0,
            ancestor,
            open: true,
            resolution: None,
        };
        (id(subject, &clash.path, loser.stamp.dot), conflict)
    });
    conflict.open = true;
    if conflict.ancestor == Revision::ZERO {
        conflict.ancestor = ancestor;
    }
    // Evidence against an author does not go away because a third side came along.
    if conflict.conflict_type != ConflictType::Equivocation {
        conflict.conflict_type = clash.conflict_type;
    }
    if clash.is_collapse {
        conflict.collapsed = Some(clash.loser);
    }
    let former = std::mem::replace(&mut conflict.primary, winner);
    conflict.retire(former, &loser, base);
    conflict.admit(loser);
    (id, conflict)
}

impl Conflict {
    /// What sort of conflict it is, as it is shown and asked for: one of [`TYPE_NAMES`].
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        type_name(self.conflict_type, self.cause)
    }

    /// How far a person has a say in what is settled, as it is shown; empty where the kind's policy has no such level.
    #[must_use]
    pub const fn manual_name(&self) -> &'static str {
        match (self.conflict_type, self.cause) {
            (ConflictType::Version, Some(cause)) => cause.manual().name(),
            (_, _) => "",
        }
    }

    /// Takes in how one more side came apart from the others. What was found once is not taken back.
    #[must_use]
    pub fn with_cause(self, cause: Option<Cause>) -> Self {
        Self { cause: self.cause.max(cause), ..self }
    }

    /// Every side, the losing ones first.
    pub fn sides(&self) -> impl Iterator<Item = &Side> {
        self.losers.iter().chain([&self.primary])
    }

    /// The log revisions that it keeps from being pruned: those of its sides and of their ancestor while it is open,
    /// none once it is settled.
    #[must_use]
    pub fn named(&self) -> BTreeSet<Revision> {
        let sides = self.sides().filter(|_| self.open).map(|side| side.revision);
        let ancestor = self.open.then_some(self.ancestor);
        sides.chain(ancestor).filter(|revision| *revision != Revision::ZERO).collect()
    }

    /// Moves the former primary among the losers, unless the new one was written over it, and drops the sides
    /// that their own writer has written over since.
    fn retire(&mut self, former: Side, loser: &Side, base: &Version) {
        let primary = self.primary.stamp.dot;
        let loser = loser.stamp.dot;
        let follows = |by: Dot, old: Dot| by.writer == old.writer && by.n > old.n;
        let is_seen = base.contains(former.stamp.dot) || follows(primary, former.stamp.dot);
        if !is_seen {
            self.admit(former);
        }
        self.losers.retain(|side| {
            let dot = side.stamp.dot;
            let is_rewritten = base.contains(dot) && (follows(loser, dot) || follows(primary, dot));
            dot != primary && !is_rewritten
        });
    }

    /// Adds a losing side once, in stamp order; past the bound the oldest is counted only.
    fn admit(&mut self, side: Side) {
        let dot = side.stamp.dot;
        if dot == self.primary.stamp.dot || self.losers.iter().any(|held| held.stamp.dot == dot) {
            return;
        }
        let at = self.losers.partition_point(|held| held.stamp < side.stamp);
        self.losers.insert(at, side);
        if self.losers.len() > CONFLICT_SIDES_MAX {
            self.losers.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}
