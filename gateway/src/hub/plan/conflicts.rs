//! Conflict records of a commit: each clash is folded into the open conflict of its path, and what came of it is
//! written once, at the end of the commit.

use std::collections::BTreeSet;

use semantics::clock::Stamp;
use semantics::conflict::{self, Clash, Conflict, OPEN_CONFLICTS_MAX, Side};
use semantics::decide::ANCESTOR_ROWS_MAX;
use semantics::digest;
use semantics::envelope::{Content, Mutation};
use semantics::ids::{Facet, Key, RecordId, Revision, Salt};
use semantics::kind;
use semantics::matrix::Cause;
use semantics::version::Version;

use super::{Draft, NewRow, Touched};
use crate::hub::known::control_key;
use crate::store::{Current, OpenConflict, RowOutcome};

impl Draft<'_> {
    /// Notes that `mutation`, which took `revision`, clashed with the state that stood at `before`.
    /// `cause` is how the mutation came apart from that state, where the kind's policy asks.
    pub(super) fn clash(
        &mut self,
        (mutation, clash): (&Mutation, &Clash),
        cause: Option<Cause>,
        (revision, before): (Revision, Revision),
    ) {
        let path = self.conflict_path(&mutation.key, &clash.path);
        let clash = Clash { path, ..clash.clone() };
        let at = (mutation.key.clone(), clash.path.clone());
        let (open, salts) = match self.conflicts.remove(&at) {
            Some((id, conflict, salt)) => (Some((id, conflict)), vec![salt, mutation.salt]),
            None => (self.open_conflict(&at.0, &at.1), vec![mutation.salt]),
        };
        let named = |stamp: Stamp| {
            let (_, conflict) = open.as_ref()?;
            let mut sides = conflict.losers.iter().chain([&conflict.primary]);
            sides.find(|side| side.stamp == stamp).map(|side| side.revision)
        };
        let side = |stamp: Stamp| Side {
            stamp,
            revision: if stamp.dot == mutation.dot { revision } else { named(stamp).unwrap_or(before) },
        };
        let sides = (side(clash.winner), side(clash.loser));
        // The author had seen its own mutation before this one as well, confirmed to it or not.
        let seen = mutation.base.own.into_iter().fold(mutation.base.version.clone(), Version::with);
        let ancestor = self.ancestor(mutation, &seen, before);
        let (id, conflict) = conflict::fold(open, &mutation.key, &clash, sides, ancestor, &seen);
        self.conflicts.insert(at, (id, conflict.with_cause(cause), digest::merged_salt(salts)));
    }

    /// The state that a mutation was made on, as its author names it, if it is one of this record that the author
    /// had seen; none when it is gone or may go, or somebody else's. `before` is the state that the mutation found.
    fn ancestor(&mut self, mutation: &Mutation, seen: &Version, before: Revision) -> Revision {
        let revision = mutation.base.revision;
        let was_seen = |key: &Key, version: &Version| *key == mutation.key && version.is_within(seen);
        let standing = self.known.current(&mutation.key);
        let is_ancestor = match standing.filter(|current| current.pointer.revision == revision) {
            Some(current) => was_seen(&current.record.key, &current.record.version),
            // What does not exist yet is not read: that it is missing would be remembered.
            None if revision == Revision::ZERO || revision > self.known.head.revision => false,
            None => match self.known.state(revision) {
                Some(Some((key, version))) => was_seen(key, version) && self.stays(revision, before),
                Some(None) => false,
                None => {
                    self.unread.insert(revision);
                    false
                }
            },
        };
        if is_ancestor { revision } else { Revision::ZERO }
    }

    /// Whether pruning leaves a row that was written over: what superseded it lies past the horizon, and it is no
    /// tombstone at or below it, which goes by its own revision. Any other is as good as gone though it may still be
    /// stored: pruning is no commit, so it may go while this one is on its way.
    pub(super) fn stays(&mut self, revision: Revision, newest: Revision) -> bool {
        let horizon = self.known.head.horizon;
        if revision > horizon {
            return true;
        }
        let mut at = newest;
        for _ in 0..ANCESTOR_ROWS_MAX {
            if at <= horizon && at != revision {
                return false;
            }
            match self.row(at).map(|row| row.map(|row| (row.previous, row.record.is_deleted()))) {
                Ok(Some((_, is_deleted))) if at == revision => return !is_deleted,
                Ok(Some((previous, _))) => at = previous,
                Ok(None) => return false,
                Err(unread) => {
                    self.bodies_unread.insert(unread);
                    return false;
                }
            }
        }
        false
    }

    /// Past the bound on open conflicts further paths share the one with the empty path.
    fn conflict_path(&self, key: &Key, path: &str) -> String {
        let open = self.current(key).map(|current| current.pointer.open.as_slice()).unwrap_or_default();
        let new =
            self.conflicts.keys().filter(|(k, p)| k == key && open.iter().all(|o| o.path != *p)).count();
        let is_known = open.iter().any(|o| o.path == path);
        if is_known || self.conflicts.contains_key(&(key.clone(), path.to_owned())) {
            return path.to_owned();
        }
        if open.len() + new + 1 >= OPEN_CONFLICTS_MAX { String::new() } else { path.to_owned() }
    }

    pub(super) fn open_conflict(&self, key: &Key, path: &str) -> Option<(RecordId, Conflict)> {
        let open = self.current(key)?.pointer.open.iter().find(|open| open.path == path)?;
        let conflict = self.known.conflict(&open.id)?;
        Some((open.id.clone(), conflict))
    }

    pub(super) fn write_conflicts(&mut self) {
        let moved = self.conflicts_that_move();
        let is_moved = |id: &RecordId| moved.values().any(|(moved, ..)| moved == id);
        let mut to_write = std::mem::take(&mut self.conflicts);
        to_write.retain(|_, (id, conflict, _)| {
            is_moved(id) || self.known.conflict(id).as_ref() != Some(conflict)
        });
        for (at, conflict) in moved {
            to_write.entry(at).or_insert(conflict);
        }
        for ((key, path), (id, conflict, salt)) in to_write {
            self.write_conflict(&key, path, id, &conflict, salt);
        }
    }

    /// The open conflicts of records that leave their domain. They go along: who may no longer see a record must not
    /// see what it is in conflict about, and who sees it now must.
    fn conflicts_that_move(&self) -> Touched {
        let leaves = |key: &Key, current: &Current| {
            let before = self.known.current(key);
            before.is_some_and(|before| before.pointer.cell.domain != current.pointer.cell.domain)
        };
        let moved = self.current.iter().filter(|(key, current)| leaves(key, current));
        let along = moved.flat_map(|(key, current)| {
            let salt = digest::merged_salt(vec![current.record.salt]);
            current.pointer.open.iter().filter_map(move |open| {
                let conflict = self.known.conflict(&open.id)?;
                Some(((key.clone(), open.path.clone()), (open.id.clone(), conflict, salt)))
            })
        });
        along.collect()
    }

    /// Writes a conflict record as the next revision; the record it is about has it among its open ones while it is.
    pub(super) fn write_conflict(
        &mut self,
        subject: &Key,
        path: String,
        id: RecordId,
        conflict: &Conflict,
        salt: Salt,
    ) {
        let (Some(key), Some(current)) = (control_key(kind::CONFLICT, id.as_str()), self.current(subject))
        else {
            return;
        };
        let domain = current.pointer.cell.domain.clone();
        let body = serde_json::to_value(conflict).map(|value| semantics::canonical::to_canonical(&value));
        let Ok(Ok(body)) = body else { return };
        let facet = Facet::new(subject.kind.as_str()).ok();
        let record = self.hub_record(&key, Content::Live(body.into()), facet, domain, salt);
        let dot = record.stamp.dot;
        let row = NewRow {
            record,
            dot,
            mutation: None,
            outcome: RowOutcome::Control,
            rule_version: Revision::ZERO,
        };
        self.hold(subject, &id, conflict);
        self.place(row);
        if let Some(mut current) = self.current(subject).cloned() {
            let open = &mut current.pointer.open;
            if !conflict.open {
                open.retain(|open| open.id != id);
            } else if open.iter().all(|open| open.id != id) {
                open.push(OpenConflict { path, id });
            }
            self.current.insert(subject.clone(), current);
        }
    }

    /// Keeps the revisions that an open conflict names, and lets go of those it no longer does.
    fn hold(&mut self, subject: &Key, id: &RecordId, conflict: &Conflict) {
        let now = conflict.named();
        let before = self.known.conflict(id).map(|before| before.named()).unwrap_or_default();
        let open = self.current(subject).map(|current| current.pointer.open.clone()).unwrap_or_default();
        let others: BTreeSet<Revision> = open
            .iter()
            .filter(|other| other.id != *id)
            .filter_map(|other| self.known.conflict(&other.id))
            .flat_map(|other| other.named())
            .collect();
        for revision in before.difference(&now).filter(|revision| !others.contains(revision)) {
            self.holds.entry(*revision).or_insert(false);
        }
        self.holds.extend(now.into_iter().map(|revision| (revision, true)));
    }
}
