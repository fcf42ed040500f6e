//! Settling a conflict inside a commit: the record's change, then the conflict's own row right behind it, which says
//! why the record looks as it does.

use semantics::conflict::{Conflict, OPEN_CONFLICTS_MAX};
use semantics::decide::{self, Context, Decision, collapses, decide};
use semantics::digest;
use semantics::envelope::{Op, Record};
use semantics::fault::Fault;
use semantics::ids::{NodeId, RecordId, Revision};
use semantics::kind::{self, Rule};
use semantics::precedent::Precedent;
use semantics::reason::{Reason, Refusal};
use semantics::resolution::{self, Account, Chosen, Marks, Resolution};

use super::{Draft, NewRow};
use crate::hub::known::{NodeStatus, control_body, control_key};
use crate::hub::work::{Act, SettleWork, Settled};
use crate::store::{Current, RowOutcome};

impl Draft<'_> {
    pub(super) fn settle(&mut self, work: &SettleWork) -> Result<Settled, Refusal> {
        let (conflict, stands) = self.disputed(work)?;
        let precedent = self.followed(work, &conflict, &stands)?;
        let subject = self.current(&work.subject).cloned();
        let subject = subject.ok_or_else(|| gone(format!("{} is gone", work.subject)))?;
        self.check_view(work, &stands, &subject)?;
        self.check_policy_is_read(&work.subject.kind)?;
        if work.by.is_node {
            let domain = &subject.pointer.cell.domain;
            self.check_primary(self.topology()?.as_ref(), work.by.author, (&work.subject.kind, domain))?;
        }
        let Some(known) = self.known.kind(&work.subject.kind) else {
            let detail = format!("no kind {} is declared", work.subject.kind);
            return Err(Refusal::new(Reason::KindUndeclared, detail));
        };
        let wanted = match &work.act {
            Act::Resolve { wanted, .. } => wanted,
            Act::Undo { wanted } => {
                self.check_undo(&conflict, &stands, &subject, &known.rule)?;
                self.check_sides(&conflict, subject.pointer.revision)?;
                wanted
            }
        };
        let before = subject.pointer.revision;
        if work.over.is_some_and(|over| over != before) {
            let detail = format!("{} stands at revision {before}: it was written over", work.subject);
            return Err(Refusal::new(Reason::Stale, detail));
        }
        let is_left = matches!(work.act, Act::Undo { .. }) && Fault::UndoLeavesRecord.is_planted();
        let change = resolution::change(&subject.record, &known.rule, &conflict.path, wanted)?;
        let change = change.filter(|_| !is_left);
        let revision = match change {
            Some(change) => self.rewrite(work, &subject, change, precedent.as_ref())?,
            None => before,
        };
        let account = self.account(work, revision);
        let conflict = match &work.act {
            Act::Resolve { choice, .. } => resolved(conflict, *choice, account, before, &known.rule),
            Act::Undo { .. } => {
                // A settled conflict holds nothing: what its sides were made on may have been pruned since, or be now.
                let is_kept = conflict.ancestor != Revision::ZERO && self.stays(conflict.ancestor, before);
                let ancestor = if is_kept { conflict.ancestor } else { Revision::ZERO };
                undone(Conflict { ancestor, ..conflict }, account)
            }
        };
        let salt = digest::merged_salt([work.salt]);
        let path = conflict.path.clone();
        self.write_conflict(&work.subject, path, work.conflict.clone(), &conflict, salt);
        let settled = Settled { conflict: self.head.revision, subject: revision };
        self.write_precedent(work, precedent)?;
        Ok(settled)
    }

    /// The conflict as it stands, if it stands where it was decided upon and in a state that the act is for.
    fn disputed(&self, work: &SettleWork) -> Result<(Conflict, Current), Refusal> {
        let key = control_key(kind::CONFLICT, work.conflict.as_str());
        let stands = key.and_then(|key| self.current(&key)).filter(|stands| !stands.pointer.deleted);
        let conflict = control_body::<Conflict>(stands).filter(|found| found.subject == work.subject);
        let (Some(stands), Some(conflict)) = (stands, conflict) else {
            return Err(no_conflict(&work.conflict));
        };
        let at = stands.pointer.revision;
        if at != work.expected && !Fault::StaleDecisionTaken.is_planted() {
            let detail = format!("the conflict stands at revision {at}, not {}", work.expected);
            return Err(Refusal::new(Reason::Stale, detail));
        }
        match &work.act {
            Act::Resolve { .. } if !conflict.open => {
                Err(Refusal::new(Reason::Stale, "the conflict is settled: undo its resolution first"))
            }
            Act::Undo { .. } if conflict.open => {
                Err(Refusal::new(Reason::Stale, "the conflict is open: there is nothing to undo"))
            }
            Act::Resolve { .. } | Act::Undo { .. } => Ok((conflict, stands.clone())),
        }
    }

    /// Of what lies outside of its view a node learns nothing.
    fn check_view(&self, work: &SettleWork, stands: &Current, subject: &Current) -> Result<(), Refusal> {
        if !work.by.is_node {
            return Ok(());
        }
        let node = self.known.node(work.by.author).filter(|node| node.status == NodeStatus::Active);
        if node.is_none() {
            return Err(Refusal::new(Reason::NodeRevoked, "this node is not registered here"));
        }
        let view = self.known.view(work.by.author);
        if view.contains(&stands.pointer.cell) && view.contains(&subject.pointer.cell) {
            Ok(())
        } else {
            Err(no_conflict(&work.conflict))
        }
    }

    /// What an undo needs: that its path means what it meant, that history reaches back to the resolution, that nobody
    /// has written over what it wrote, and that its path is not in conflict again.
    fn check_undo(
        &self,
        conflict: &Conflict,
        stands: &Current,
        subject: &Current,
        rule: &Rule,
    ) -> Result<(), Refusal> {
        let settled = conflict.resolution.as_ref();
        let settled = settled.ok_or_else(|| Refusal::new(Reason::Stale, "the conflict was never settled"))?;
        if !settled.is_read_by(rule) {
            let detail = format!(
                "the kind's policy is {} since, under which {:?} is another path: write the value anew, or set the \
                 policy back first",
                rule.policy.name(),
                conflict.path
            );
            return Err(Refusal::new(Reason::Stale, detail));
        }
        if stands.pointer.revision <= self.known.head.horizon {
            return Err(gone(
                "the resolution is older than the history that is kept: write the value anew".to_owned(),
            ));
        }
        let open = &subject.pointer.open;
        if open.iter().any(|open| open.path == conflict.path) {
            let detail = "the path is in conflict again: settle the conflict that is open";
            return Err(Refusal::new(Reason::Stale, detail));
        }
        if open.len() + 1 >= OPEN_CONFLICTS_MAX {
            let detail = format!("{} conflicts of the record are open: settle others first", open.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let revision = settled.account.revision;
        if settled.has_written() && !resolution::still_stands(&subject.record, rule, &conflict.path, revision)
        {
            let detail = "what the resolution wrote was written over since: write the value anew instead";
            return Err(Refusal::new(Reason::Stale, detail));
        }
        Ok(())
    }

    /// An open conflict names only what is kept. The sides of a settled one held nothing back: whoever asked saw them
    /// stored, and pruning may have come since.
    fn check_sides(&mut self, conflict: &Conflict, newest: Revision) -> Result<(), Refusal> {
        for side in conflict.sides() {
            if !self.stays(side.revision, newest) {
                let detail =
                    format!("revision {}, a side of the conflict, is not kept any more", side.revision);
                return Err(gone(detail));
            }
        }
        Ok(())
    }

    /// Has the record's own rule take the change, and writes what comes of it.
    fn rewrite(
        &mut self,
        work: &SettleWork,
        subject: &Current,
        change: (Op, u64),
        precedent: Option<&Precedent>,
    ) -> Result<Revision, Refusal> {
        let marks =
            Marks { id: work.mutation, salt: work.salt, author: work.by.author, now_ms: self.head.time_ms };
        let (at, takes) = (subject.pointer.revision, self.head.revision.next());
        let parsed = decide::parse(resolution::mutation(&subject.record, at, takes, change, marks))?;
        let known = self.known.kind(&work.subject.kind);
        let known = known.ok_or_else(|| Refusal::new(Reason::KindUndeclared, work.subject.kind.as_str()))?;
        let context = Context::new(subject.record.placement.clone());
        let record = match decide(Some(&subject.record), &parsed, &known.rule, &context) {
            Decision::Applied(record) => *record,
            Decision::Rejected(refusal) => return Err(explained(refusal)),
            Decision::Merged(_) | Decision::Conflicted { .. } => {
                return Err(Refusal::new(Reason::Internal, "a change on the present state is not applied"));
            }
        };
        known.check(&parsed, &record)?;
        self.check_cell(work, &record)?;
        // A precedent that was made over a collapsed side speaks of it; no other rule has the last word there.
        let has_decided =
            work.by.author != NodeId::HUB || precedent.is_some_and(|p| p.signature.is_of_a_collapse());
        if !has_decided && collapses(&subject.record, &record) {
            let detail = "what stands is healthy and what comes of it has collapsed: a person has to say so";
            return Err(Refusal::new(Reason::SchemaViolation, detail));
        }
        let mutation = parsed.mutation;
        Ok(self.place(NewRow {
            record,
            dot: mutation.dot,
            mutation: Some(mutation),
            outcome: RowOutcome::Control,
            rule_version: known.rule.version,
        }))
    }

    /// A node writes only where it sees.
    fn check_cell(&self, work: &SettleWork, record: &Record) -> Result<(), Refusal> {
        let is_shown = || self.known.view(work.by.author).contains(&record.cell());
        if !work.by.is_node || record.is_deleted() || is_shown() {
            return Ok(());
        }
        Err(Refusal::new(Reason::NotInView, "this node may not write there"))
    }

    pub(super) fn account(&self, work: &SettleWork, revision: Revision) -> Account {
        let by = &work.by;
        Account {
            by: by.author,
            name: by.name.clone(),
            reason: by.reason.clone(),
            time_ms: self.head.time_ms,
            revision,
        }
    }
}

fn resolved(conflict: Conflict, choice: Chosen, account: Account, before: Revision, rule: &Rule) -> Conflict {
    let (rule_version, under) = (rule.version, Some(rule.policy));
    let resolution = Some(Resolution { account, choice, before, rule_version, under, undone: None });
    Conflict { open: false, resolution, ..conflict }
}

fn undone(conflict: Conflict, account: Account) -> Conflict {
    let resolution = conflict.resolution.map(|settled| Resolution { undone: Some(account), ..settled });
    Conflict { open: true, resolution, ..conflict }
}

fn no_conflict(id: &RecordId) -> Refusal {
    Refusal::new(Reason::NotFound, format!("no conflict {id}"))
}

fn gone(detail: String) -> Refusal {
    Refusal::new(Reason::RecordGone, detail)
}

/// The rules speak to authors; who settles has other means.
fn explained(refusal: Refusal) -> Refusal {
    if refusal.reason != Reason::AppendOnly {
        return refusal;
    }
    let detail =
        format!("{}: keep what stands; what the other side says can be a record of its own", refusal.detail);
    Refusal::new(Reason::AppendOnly, detail)
}
