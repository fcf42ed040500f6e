//! Conflicts that came up in this gateway's commits and wait for the hub's own arbiter.
//!
//! - A conflict waits once, whatever happens to it meanwhile; it is judged as it stands then.
//! - At most [`CASES_MAX`] wait for each tenant; past that the tenant's whole inbox is looked through instead, so that
//!   none is forgotten.
//! - `a_rule_that_is_set_speaks_of_what_is_open`: a commit that sets a policy or declares a kind has the inbox looked through.
//! - `what_a_commit_opened_that_nobody_was_told_of_is_judged_all_the_same`: a commit whose outcome is not learned has the
//!   inbox looked through, and so has the next one that is known to have happened: only then the first has, or never will.
//! - What waits is lost with the gateway: a gateway that looks after a tenant for the first time looks through its
//!   inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use semantics::conflict::Conflict;
use semantics::ids::{Key, Kind, RecordId, TenantId};
use semantics::kind;
use tokio::sync::Notify;

use super::known::control_body;
use crate::store::{Append, Current};

/// Most conflicts of one tenant that wait by name.
pub const CASES_MAX: usize = 1_000;

/// What is to be looked at of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cases {
    /// These conflicts.
    Some(BTreeSet<RecordId>),
    /// The whole inbox.
    All,
}

impl Cases {
    /// Those of a commit: the conflicts that it opens and nobody has settled before; the whole inbox where it sets a rule.
    pub(super) fn of(append: &Append, current: &IndexMap<Key, Current>) -> Option<Self> {
        let is_rule = |kind: &Kind| matches!(kind.as_str(), kind::POLICY | kind::KIND);
        if append.rows.iter().any(|row| is_rule(&row.record.key.kind)) {
            return Some(Self::All);
        }
        let conflicts = append.rows.iter().filter(|row| kind::is_conflict(&row.record.key.kind));
        let is_new = |conflict: Conflict| conflict.open && conflict.resolution.is_none();
        let new = conflicts.filter(|row| control_body(current.get(&row.record.key)).is_some_and(is_new));
        let new: BTreeSet<RecordId> = new.map(|row| row.record.key.id.clone()).collect();
        (!new.is_empty()).then_some(Self::Some(new))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Docket {
    waiting: Mutex<BTreeMap<TenantId, Cases>>,
    seen: Mutex<BTreeSet<TenantId>>,
    /// Tenants with an append whose outcome was not learned.
    unlearned: Mutex<BTreeSet<TenantId>>,
    came: Notify,
}

/// The cases of an append that is under way. Dropped, its outcome was not learned.
#[derive(Debug)]
#[must_use]
pub(super) struct Coming<'a> {
    docket: &'a Docket,
    tenant: &'a TenantId,
    cases: Option<Cases>,
}

impl Coming<'_> {
    /// The append has happened.
    pub(super) fn came(mut self) {
        let was_unlearned = self.docket.unlearned().remove(self.tenant);
        let cases = self.cases.take();
        if let Some(cases) = if was_unlearned { Some(Cases::All) } else { cases } {
            self.docket.add(self.tenant, cases);
        }
    }

    /// The append has not happened, and never will.
    pub(super) fn void(mut self) {
        self.cases = None;
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if self.cases.is_some() {
            self.docket.unlearned().insert(self.tenant.clone());
            self.docket.add(self.tenant, Cases::All);
        }
    }
}

impl Docket {
    /// Has cases wait, beside those that do.
    pub fn add(&self, tenant: &TenantId, cases: Cases) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all = match (waiting.remove(tenant), cases) {
            (Some(Cases::Some(before)), Cases::Some(more)) => {
                let all: BTreeSet<RecordId> = before.into_iter().chain(more).collect();
                if all.len() > CASES_MAX { Cases::All } else { Cases::Some(all) }
            }
            (Some(Cases::All), _) | (_, Cases::All) => Cases::All,
            (None, cases) => cases,
        };
        waiting.insert(tenant.clone(), all);
        drop(waiting);
        self.came.notify_one();
    }

    /// Before an append that brings these cases, if any.
    pub(super) fn coming<'a>(&'a self, tenant: &'a TenantId, cases: Option<Cases>) -> Coming<'a> {
        Coming { docket: self, tenant, cases }
    }

    fn unlearned(&self) -> MutexGuard<'_, BTreeSet<TenantId>> {
        self.unlearned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a tenant's whole inbox looked through, the first time that this gateway looks after it.
    pub fn first(&self, tenant: &TenantId) {
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone()) {
            self.add(tenant, Cases::All);
        }
    }

    /// What waits, of every tenant.
    pub fn take(&self) -> BTreeMap<TenantId, Cases> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something may wait.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<usize>) -> Cases {
        Cases::Some(range.map(|n| RecordId::new(n.to_string()).unwrap()).collect())
    }

    #[test]
    fn a_conflict_waits_once() {
        let (docket, tenant) = (Docket::default(), TenantId::new("acme").unwrap());
        docket.add(&tenant, ids(0..2));
        docket.add(&tenant, ids(1..3));
        assert_eq!(docket.take(), [(tenant, ids(0..3))].into());
        assert!(docket.take().is_empty());
    }

    #[test]
    fn past_the_bound_the_whole_inbox_is_looked_through() {
        let (docket, tenant) = (Docket::default(), TenantId::new("acme").unwrap());
        docket.add(&tenant, ids(0..CASES_MAX));
        docket.add(&tenant, ids(0..CASES_MAX + 1));
        docket.add(&tenant, ids(0..1));
        assert_eq!(docket.take(), [(tenant, Cases::All)].into());
    }

    #[test]
    fn an_inbox_is_looked_through_once_by_who_looks_after_its_tenant() {
        let (docket, tenant) = (Docket::default(), TenantId::new("acme").unwrap());
        docket.first(&tenant);
        assert_eq!(docket.take(), [(tenant.clone(), Cases::All)].into());
        docket.first(&tenant);
        assert!(docket.take().is_empty());
    }

    #[test]
    fn what_came_of_an_append_that_nobody_was_told_of_is_looked_for() {
        let (docket, tenant) = (Docket::default(), TenantId::new("acme").unwrap());
        docket.coming(&tenant, Some(ids(0..1))).void();
        drop(docket.coming(&tenant, None));
        assert!(docket.take().is_empty(), "nothing can have been missed");
        docket.coming(&tenant, Some(ids(0..1))).came();
        assert_eq!(docket.take(), [(tenant.clone(), ids(0..1))].into());
        drop(docket.coming(&tenant, Some(ids(0..1))));
        assert_eq!(docket.take(), [(tenant.clone(), Cases::All)].into(), "it may have happened");
        docket.coming(&tenant, None).came();
        assert_eq!(docket.take(), [(tenant.clone(), Cases::All)].into(), "now it has, or it never will");
        docket.coming(&tenant, None).came();
        assert!(docket.take().is_empty());
    }
}
