//! How the sides of a clash came apart, of kinds whose policy asks: from the rows that the newcomer had not seen.

use semantics::conflict::{Conflict, ConflictType, Side};
use semantics::decide::Parsed;
use semantics::digest;
use semantics::envelope::Mutation;
use semantics::ids::{RecordId, Revision, Salt, Writer};
use semantics::kind::Policy;
use semantics::matrix::{Away, CAUSE_ROWS_MAX, Cause, Unseen, came_apart, holds};
use semantics::version::Version;
use serde_json::Value;

use super::Draft;

impl Draft<'_> {
    /// How a mutation that is about to be written comes apart from the state that stands at `before`. A row that is not
    /// read yet is noted, and the plan made anew with it.
    pub(super) fn cause(
        &mut self,
        parsed: &Parsed,
        conflict_type: ConflictType,
        before: Revision,
        away: Option<Away>,
    ) -> Option<Cause> {
        let mutation = &parsed.mutation;
        let kind = self.known.kind(&mutation.key.kind)?;
        if kind.rule.policy != Policy::ByType || conflict_type != ConflictType::Version {
            return None;
        }
        let stands = self.current(&mutation.key).and_then(|current| current.record.body());
        let stands = stands.and_then(|body| serde_json::from_slice::<Value>(body).ok());
        let is_sound = stands.as_ref().is_none_or(holds) && holds(&Value::Object(parsed.fields().clone()));
        if !is_sound {
            return Some(Cause::Corruption);
        }
        match self.since(mutation, before) {
            Ok((revisions, is_whole)) => {
                let unseen = self.unseen(mutation, &revisions);
                // What lies further back than was looked at may be of the other side as well.
                Some(came_apart(mutation, &unseen, away.filter(|_| is_whole)))
            }
            Err(unread) => {
                self.bodies_unread.insert(unread);
                None
            }
        }
    }

    /// The side that a mutation goes on with, where that side stands in a conflict that its author has not seen whole.
    /// Kinds that are settled without a person then weigh what the side says now.
    pub(super) fn side_gone_on(&self, mutation: &Mutation) -> Option<(RecordId, Conflict, Option<Salt>)> {
        let own = mutation.base.own?;
        let policy = self.known.kind(&mutation.key.kind)?.rule.policy;
        if !matches!(policy, Policy::ByType | Policy::Consensus) {
            return None;
        }
        let written = self.conflicts.get(&(mutation.key.clone(), String::new())).cloned();
        let (id, conflict, salt) = match written {
            Some((id, conflict, salt)) => (id, conflict, Some(salt)),
            None => self.open_conflict(&mutation.key, "").map(|(id, conflict)| (id, conflict, None))?,
        };
        let has_seen_all = conflict.losers.iter().all(|side| mutation.base.version.contains(side.stamp.dot));
        (conflict.primary.stamp.dot == own && !has_seen_all).then_some((id, conflict, salt))
    }

    /// Has that side say what the mutation, which took `revision`, says.
    pub(super) fn go_on(
        &mut self,
        mutation: &Mutation,
        (id, conflict, salt): (RecordId, Conflict, Option<Salt>),
        cause: Option<Cause>,
        revision: Revision,
    ) {
        let primary = Side { stamp: mutation.stamp(), revision };
        let conflict = Conflict { primary, ..conflict }.with_cause(cause);
        let salt = digest::merged_salt(salt.into_iter().chain([mutation.salt]));
        self.conflicts.insert((mutation.key.clone(), String::new()), (id, conflict, salt));
    }

    /// The record's rows since what a mutation was made on, newest first, and whether these are all of them. The error
    /// is the revision of one that is not read.
    fn since(&self, mutation: &Mutation, before: Revision) -> Result<(Vec<Revision>, bool), Revision> {
        let mut revisions = Vec::new();
        let mut at = before;
        while at > mutation.base.revision && revisions.len() < CAUSE_ROWS_MAX {
            let Some(row) = self.row(at)? else { break };
            revisions.push(at);
            at = row.previous;
        }
        Ok((revisions, at <= mutation.base.revision))
    }

    /// What nodes wrote in these rows and the author of a mutation had not seen.
    fn unseen(&self, mutation: &Mutation, revisions: &[Revision]) -> Vec<Unseen<'_>> {
        let seen = mutation.base.own.into_iter().fold(mutation.base.version.clone(), Version::with);
        let rows = revisions.iter().filter_map(|revision| Some((*revision, self.row(*revision).ok()??)));
        rows.filter(|(_, row)| row.dot.writer != Writer::HUB && !seen.contains(row.dot))
            .filter_map(|(revision, row)| Some(Unseen { revision, mutation: row.mutation? }))
            .collect()
    }
}
