//! Settling conflicts: what a choice comes to is read from the log before the committer is asked, because rows never
//! change; that the conflict stands where it was decided upon is checked in the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use semantics::conflict::Conflict;
use semantics::fault::Fault;
use semantics::ids::{Key, MutationId, RecordId, Revision, Salt, TenantId};
use semantics::kind;
use semantics::precedent::{Binding, Signature};
use semantics::reason::{Reason, Refusal};
use semantics::resolution::{self, Choice, Chosen, REASON_BYTES_MAX, Row, Wanted};

use super::control::key_of;
use super::error::HubError;
use super::known::{CompiledKind, control_body, view_key};
use super::work::{Act, Answer, PrecedentWork, SettleWork, Settled, Settler, Work};
use super::{Hub, Principal};
use crate::store::{Current, LogRow, Wanted as Read};

/// A conflict and everything it is judged by, at one moment.
#[derive(Debug)]
pub struct Disputed {
    /// Its id.
    pub id: RecordId,
    /// The revision at which the conflict record stands.
    pub revision: Revision,
    /// The conflict.
    pub conflict: Conflict,
    /// The record it is about; absent when it is gone.
    pub subject: Option<Current>,
    /// The subject's kind, as it is declared now.
    pub kind: Arc<CompiledKind>,
    rows: BTreeMap<Revision, LogRow>,
}

/// What a settlement hangs on beside its conflict.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// The precedent that it sets or follows.
    pub(super) precedent: Option<PrecedentWork>,
    /// The revision at which the subject must stand; none = wherever it stands.
    pub(super) over: Option<Revision>,
}

impl Disputed {
    /// A row that the conflict or its resolution names, if it is kept.
    #[must_use]
    pub fn row(&self, revision: Revision) -> Option<Row<'_>> {
        let row = self.rows.get(&revision).filter(|row| row.record.key == self.conflict.subject)?;
        Some(Row { mutation: row.mutation.as_ref(), record: &row.record })
    }

    /// What a choice comes to.
    ///
    /// # Errors
    /// Those of [`resolution::wanted`].
    pub fn wanted(&self, choice: &Choice) -> Result<Wanted, Refusal> {
        resolution::wanted(&self.conflict, choice, &self.kind.rule, |revision| self.row(revision))
    }

    /// What the conflict has in common with those that are decided alike.
    ///
    /// # Errors
    /// Those of [`Signature::of`].
    pub fn signature(&self) -> Result<Signature, Refusal> {
        Signature::of(&self.conflict, &self.kind.rule, |revision| self.row(revision))
    }

    fn precedent(&self, choice: &Choice) -> Result<PrecedentWork, Refusal> {
        let binding = Binding::of(choice, &self.conflict)?;
        Ok(PrecedentWork::Sets { signature: self.signature()?, binding })
    }
}

impl Hub {
    /// A conflict with the rows that it and its resolution name. For a node only what its view shows of it.
    ///
    /// # Errors
    /// NOT_FOUND; KIND_UNDECLARED when the record's kind was taken back; store errors.
    pub async fn disputed(
        &self,
        tenant: &TenantId,
        id: &RecordId,
        node: Option<&Principal>,
    ) -> Result<Disputed, HubError> {
        let absent = || HubError::new(Reason::NotFound, format!("no conflict {id}"));
        let key = key_of(kind::CONFLICT, id.as_str())?;
        let stands = self.control(tenant, &key).await?;
        let conflict: Conflict = control_body(stands.as_ref()).ok_or_else(absent)?;
        let declared = key_of(kind::KIND, conflict.subject.kind.as_str())?;
        let set = key_of(kind::POLICY, conflict.subject.kind.as_str())?;
        let mut keys = BTreeSet::from([key.clone(), conflict.subject.clone(), declared.clone(), set.clone()]);
        keys.extend(node.and_then(|who| view_key(who.node)));
        let mut read = self.store().load(tenant, &Read { keys, ..Read::default() }).await?.current;
        // Read once more: everything that is judged together is of one moment.
        let stands = read.remove(&key).filter(|stands| !stands.pointer.deleted).ok_or_else(absent)?;
        let conflict: Conflict = control_body(Some(&stands)).ok_or_else(absent)?;
        let subject = read.remove(&conflict.subject);
        if let Some(who) = node {
            let view: semantics::view::View =
                control_body(view_key(who.node).and_then(|key| read.get(&key))).unwrap_or_default();
            let is_shown = subject.as_ref().is_some_and(|subject| view.contains(&subject.pointer.cell));
            if !is_shown || !view.contains(&stands.pointer.cell) {
                return Err(absent());
            }
        }
        let subject_kind = &conflict.subject.kind;
        let kind = CompiledKind::standing(subject_kind, read.get(&declared), read.get(&set));
        let kind = kind.ok_or_else(|| {
            HubError::new(Reason::KindUndeclared, format!("no kind {subject_kind} is declared"))
        })?;
        let settled = conflict.resolution.as_ref();
        let settled = settled.map(|settled| [settled.before, settled.account.revision]).into_iter().flatten();
        let revisions: BTreeSet<Revision> =
            conflict.sides().map(|side| side.revision).chain([conflict.ancestor]).chain(settled).collect();
        let rows = self.store().rows(tenant, &revisions).await?;
        let rows = rows.into_iter().map(|row| (row.revision, row)).collect();
        Ok(Disputed { id: id.clone(), revision: stands.pointer.revision, conflict, subject, kind, rows })
    }

    /// Settles a conflict that stands at `expected`: the record's change, if one is needed, the closing of the
    /// conflict and the precedent, if it is to be one, are one commit. Asking again after a lost answer is STALE and
    /// changes nothing.
    ///
    /// # Errors
    /// NOT_FOUND; STALE when the conflict moved or is settled; MALFORMED for a precedent of a value or of more than two
    /// sides; what the choice or the record's rule refuses (RECORD_GONE,
    /// APPEND_ONLY, SCHEMA_VIOLATION …); TOO_LARGE for a long reason; NODE_REVOKED and NOT_IN_VIEW for nodes; store
    /// errors.
    pub async fn resolve(
        &self,
        tenant: &TenantId,
        (id, expected): (&RecordId, Revision),
        choice: &Choice,
        by: Settler,
    ) -> Result<Settled, HubError> {
        let disputed = self.disputed_for(tenant, id, &by).await?;
        disputed.check(expected)?;
        if !disputed.conflict.open {
            return Err(HubError::new(Reason::Stale, "the conflict is settled: undo its resolution first"));
        }
        let wanted = disputed.wanted(choice)?;
        let precedent = if by.binds { Some(disputed.precedent(choice)?) } else { None };
        let act = Act::Resolve { choice: Chosen::from(choice), wanted };
        self.settle(tenant, disputed, act, by, Terms { precedent, over: None }).await
    }

    /// Takes the resolution of a conflict that stands at `expected` back: a new revision of the record with what stood
    /// at the conflict's path before, and the conflict open again, in one commit.
    ///
    /// # Errors
    /// NOT_FOUND; STALE when the conflict moved or is open, when its path is in conflict again, or when somebody has
    /// written over what the resolution wrote; RECORD_GONE when the horizon has reached the resolution, or when history
    /// no longer holds a side (or pruning may take it at any moment), the ancestor or the state before; otherwise as [`Hub::resolve`].
    pub async fn undo_resolution(
        &self,
        tenant: &TenantId,
        (id, expected): (&RecordId, Revision),
        by: Settler,
    ) -> Result<Settled, HubError> {
        let disputed = self.disputed_for(tenant, id, &by).await?;
        disputed.check(expected)?;
        let settled = disputed.conflict.resolution.as_ref().filter(|_| !disputed.conflict.open);
        let settled = settled
            .ok_or_else(|| HubError::new(Reason::Stale, "the conflict is open: there is nothing to undo"))?;
        disputed.check_sides()?;
        let wanted = if settled.has_written() {
            let before = disputed.row(settled.before).ok_or_else(|| {
                HubError::new(
                    Reason::RecordGone,
                    "the state before is not kept any more: write the value anew",
                )
            })?;
            resolution::shown(before.record, disputed.kind.rule.policy, &disputed.conflict.path)?
        } else {
            Wanted::Standing
        };
        self.settle(tenant, disputed, Act::Undo { wanted }, by, Terms::default()).await
    }

    async fn disputed_for(
        &self,
        tenant: &TenantId,
        id: &RecordId,
        by: &Settler,
    ) -> Result<Disputed, HubError> {
        if by.reason.len() > REASON_BYTES_MAX {
            let detail = format!("reason: {} bytes, at most {REASON_BYTES_MAX} are allowed", by.reason.len());
            return Err(HubError::new(Reason::TooLarge, detail));
        }
        let node = by.is_node.then(|| Principal { tenant: tenant.clone(), node: by.author });
        self.disputed(tenant, id, node.as_ref()).await
    }

    pub(super) async fn settle(
        &self,
        tenant: &TenantId,
        disputed: Disputed,
        act: Act,
        by: Settler,
        Terms { precedent, over }: Terms,
    ) -> Result<Settled, HubError> {
        let subject: Key = disputed.conflict.subject;
        let (mutation, salt) = (MutationId(self.entropy().bytes16()), Salt(self.entropy().bytes16()));
        let (conflict, expected) = (disputed.id, disputed.revision);
        let work = SettleWork { conflict, subject, expected, over, act, by, precedent, mutation, salt };
        match self.submit(tenant, Work::Settle(Box::new(work))).await? {
            Answer::Settled(settled) => Ok(settled?),
            Answer::Push(_) | Answer::Control(_) | Answer::Done(_) => {
                Err(HubError::internal("a resolution got another answer"))
            }
        }
    }
}

impl Disputed {
    /// An open conflict names only what is kept: one whose sides went with the history stays settled.
    fn check_sides(&self) -> Result<(), HubError> {
        let ancestor = Some(self.conflict.ancestor).filter(|ancestor| *ancestor != Revision::ZERO);
        let mut named = self.conflict.sides().map(|side| side.revision).chain(ancestor);
        match named.find(|revision| self.row(*revision).is_none()) {
            None => Ok(()),
            Some(revision) => {
                let detail = format!("revision {revision}, which the conflict names, is not kept any more");
                Err(HubError::new(Reason::RecordGone, detail))
            }
        }
    }

    fn check(&self, expected: Revision) -> Result<(), HubError> {
        if self.revision == expected || Fault::StaleDecisionTaken.is_planted() {
            return Ok(());
        }
        let detail = format!("the conflict stands at revision {}, not {expected}", self.revision);
        Err(HubError::new(Reason::Stale, detail))
    }
}
