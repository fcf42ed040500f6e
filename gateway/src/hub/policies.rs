//! Policies set for kinds at run time: control records beside the kinds' declarations.

use semantics::builtin;
use semantics::canonical::parse_object;
use semantics::conflict::Conflict;
use semantics::envelope::KEY_ID_CLEAR;
use semantics::ids::{Kind, NodeId, RecordId, Revision, TenantId};
use semantics::kind::{self, Declaration, Policy, PolicySet};
use semantics::reason::Reason;

use super::Hub;
use super::control::key_of;
use super::error::HubError;
use super::heavy;
use super::known::control_body;
use super::query::LIST_ROWS_MAX;
use crate::store::PointerQuery;

/// Most open conflicts of a kind that a new declaration is tried on.
const OPEN_LOOKED_AT_MAX: usize = 10_000;

/// What applies to a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindPolicy {
    /// The kind, as it is declared.
    pub declaration: Declaration,
    /// What was set instead of the declared policy.
    pub set: Option<Policy>,
    /// The revision from which on it applies; [`Revision::ZERO`] for a built-in kind as it comes.
    pub version: Revision,
}

impl KindPolicy {
    /// The policy that applies.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.set.unwrap_or(self.declaration.policy)
    }
}

impl Hub {
    /// The policy that applies to a kind.
    ///
    /// # Errors
    /// NOT_FOUND for a kind that is neither built in nor declared; store errors.
    pub async fn policy(&self, tenant: &TenantId, kind: &Kind) -> Result<KindPolicy, HubError> {
        let declared = self.control(tenant, &key_of(kind::KIND, kind.as_str())?).await?;
        let set = self.control(tenant, &key_of(kind::POLICY, kind.as_str())?).await?;
        let declaration: Option<Declaration> = control_body(declared.as_ref());
        let built_in = || builtin::builtin(kind).filter(|_| kind::is_pushable(kind)).cloned();
        let declaration = declaration
            .or_else(built_in)
            .ok_or_else(|| HubError::new(Reason::NotFound, format!("no kind {kind}")))?;
        let revisions = [&declared, &set].map(|found| found.as_ref().map(|found| found.pointer.revision));
        Ok(KindPolicy {
            declaration,
            set: control_body::<PolicySet>(set.as_ref()).and_then(|set| set.policy),
            version: revisions.into_iter().flatten().max().unwrap_or_default(),
        })
    }

    /// Sets the policy of a kind from the revision on that it returns; `None`: what its declaration says.
    ///
    /// # Errors
    /// NOT_FOUND for a kind that is not declared; CONFLICTS_OPEN where conflicts of the kind are open whose paths mean
    /// something else under the new policy; STALE; store errors.
    pub async fn set_policy(
        &self,
        tenant: &TenantId,
        author: NodeId,
        kind: &Kind,
        policy: Option<Policy>,
    ) -> Result<Revision, HubError> {
        let stands = self.policy(tenant, kind).await?;
        let next = policy.unwrap_or(stands.declaration.policy);
        if !next.keeps_paths_of(stands.policy()) {
            self.check_none_open(tenant, kind).await?;
        }
        let key = key_of(kind::POLICY, kind.as_str())?;
        if policy == stands.set {
            return Ok(stands.version);
        }
        // Never deleted: the revision of a rule says which one it is.
        self.put_control(tenant, author, key, &PolicySet { policy }).await
    }

    async fn check_none_open(&self, tenant: &TenantId, kind: &Kind) -> Result<(), HubError> {
        match self.open_conflicts(tenant, kind).await?.first() {
            None => Ok(()),
            Some((id, _)) => Err(open(id, kind, "its path means something else under the policy to come")),
        }
    }

    /// Refuses a declaration that open conflicts of its kind could not be resolved under: their paths would mean
    /// something else, or a side that may be chosen would not fit the schema.
    pub(super) async fn check_conflicts_under(
        &self,
        tenant: &TenantId,
        declaration: &Declaration,
    ) -> Result<(), HubError> {
        let kind = &declaration.name;
        let before = match self.policy(tenant, kind).await {
            Ok(before) if before.declaration == *declaration => return Ok(()),
            Ok(before) => before,
            Err(error) if error.refusal.reason == Reason::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let next = before.set.unwrap_or(declaration.policy);
        if !next.keeps_paths_of(before.policy()) {
            self.check_none_open(tenant, kind).await?;
        }
        if before.declaration.schema == declaration.schema {
            return Ok(());
        }
        let schema = heavy::compile(declaration)?;
        for (id, conflict) in self.open_conflicts(tenant, kind).await? {
            let rows = self.store().rows(tenant, &conflict.named()).await?;
            let bodies = rows.iter().filter(|row| row.record.key_id == KEY_ID_CLEAR);
            for body in bodies.filter_map(|row| row.record.body()) {
                if let Err(refusal) = schema.check_object(parse_object(body)?) {
                    return Err(open(&id, kind, &format!("a side would not fit: {}", refusal.detail)));
                }
            }
        }
        Ok(())
    }

    async fn open_conflicts(
        &self,
        tenant: &TenantId,
        kind: &Kind,
    ) -> Result<Vec<(RecordId, Conflict)>, HubError> {
        let conflicts = Kind::new(kind::CONFLICT).ok();
        let mut query = PointerQuery { kind: conflicts, rows_max: LIST_ROWS_MAX, ..PointerQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = self.records(tenant, query.clone()).await?;
            for row in page.rows.iter().filter(|row| !row.pointer.deleted) {
                let conflict: Option<Conflict> = control_body(Some(row));
                let is_open = |conflict: &Conflict| conflict.open && conflict.subject.kind == *kind;
                found.extend(conflict.filter(is_open).map(|conflict| (row.pointer.key.id.clone(), conflict)));
            }
            query.after = page.rows.last().map(|row| row.pointer.key.clone());
            if page.is_last || query.after.is_none() || found.len() >= OPEN_LOOKED_AT_MAX {
                return Ok(found);
            }
        }
    }
}

fn open(id: &RecordId, kind: &Kind, why: &str) -> HubError {
    HubError::new(Reason::ConflictsOpen, format!("conflict {id} of {kind} is open: {why}"))
}
