//! The hub's own arbiter: settles what a rule settles without a person, once it has come up.
//!
//! - `a_like_conflict_is_settled_by_its_precedent`: one commit closes it, names the precedent and counts its use.
//! - `a_near_miss_waits_for_a_person`, and so does everything that no rule speaks about.
//! - `a_precedent_binds_in_its_own_tenant_alone`: neither is it listed, counted or revoked in another.
//! - `a_precedent_that_is_revoked_settles_nothing_more`; it is looked at again in the commit.
//! - `who_took_a_resolution_back_is_not_overruled`: a conflict that was once settled is a person's.
//! - `states_of_a_consensus_kind_vote`: the heaviest is made to stand, the weights are the reason; a tie, and a side that
//!   nobody can read, wait for a person.
//! - `no_rule_lets_a_collapsed_state_stand_over_a_healthy_one`: see [`semantics::decide::collapses`].
//! - A conflict of a kind with the policy `resolver` is handed on to be asked about, where there is somebody to ask: see
//!   [`super::resolver`].
//! - A rule that its conflict refuses (the record is gone, its schema would not hold) leaves it to a person. An error of
//!   the store leaves all that was not judged yet for the next time.

use std::collections::BTreeSet;

use semantics::builtin::builtin;
use semantics::conflict::Conflict;
use semantics::fault::Fault;
use semantics::identity::vote::{Vote, vote};
use semantics::ids::{Kind, NodeId, RecordId, Revision, TenantId};
use semantics::kind::{self, Declaration, Policy, PolicySet};
use semantics::precedent::Precedent;
use semantics::reason::Reason;
use semantics::resolution::{Choice, Chosen};

use super::Hub;
use super::control::key_of;
use super::docket::{Cases, Docket};
use super::error::HubError;
use super::known::control_body;
use super::query::LIST_ROWS_MAX;
use super::settle::{Disputed, Terms};
use super::work::{Act, PrecedentWork, Settler};
use crate::store::{Current, PointerQuery, Wanted as Read};

/// What a rule says of a conflict.
pub(super) struct Verdict {
    pub(super) choice: Choice,
    /// The rule, as the account of the settlement names it.
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) precedent: Option<PrecedentWork>,
    /// The revision at which the record must stand for it; none = wherever it stands.
    pub(super) over: Option<Revision>,
}

/// Whether a policy settles without anybody beside the hub.
fn settles_itself(policy: Policy) -> bool {
    matches!(policy, Policy::Consensus | Policy::ByType)
}

/// Whether a conflict is about a kind that settles itself unless the tenant has set something else.
fn is_built_in(conflict: &Conflict) -> bool {
    builtin(&conflict.subject.kind).is_some_and(|kind| settles_itself(kind.policy))
}

/// What became of a conflict.
pub(super) enum Judged {
    /// A rule has settled it.
    Settled,
    /// No rule speaks about it.
    Left,
    /// A program of the user's is to be asked, about the conflict as it is here.
    Asks(Box<Disputed>),
}

impl Hub {
    /// The conflicts that wait for the hub's arbiter.
    #[must_use]
    pub fn docket(&self) -> &Docket {
        &self.docket
    }

    /// Judges what waits of every tenant. Gives how many conflicts were settled.
    ///
    /// # Errors
    /// Store errors; what was not judged waits again.
    pub async fn arbitrate(&self) -> Result<usize, HubError> {
        let mut waiting = self.docket.take();
        let (mut settled, mut failed) = (0, None);
        while let Some((tenant, cases)) = waiting.pop_first() {
            match self.judge_all(&tenant, &cases).await {
                Ok(some) => settled += some,
                Err(error) if error.reason() == Reason::NotFound => {}
                Err(error) => {
                    self.docket.add(&tenant, cases);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(settled), Err)
    }

    async fn judge_all(&self, tenant: &TenantId, cases: &Cases) -> Result<usize, HubError> {
        let has_rules = self.has_rules(tenant).await?;
        match cases {
            Cases::Some(ids) if has_rules => self.judge_each(tenant, ids).await,
            Cases::Some(ids) => {
                let ids = self.built_in_cases(tenant, ids).await?;
                self.judge_each(tenant, &ids).await
            }
            Cases::All => self.judge_inbox(tenant, has_rules).await,
        }
    }

    async fn judge_each(&self, tenant: &TenantId, ids: &BTreeSet<RecordId>) -> Result<usize, HubError> {
        let mut settled = 0;
        for id in ids {
            match self.judge(tenant, id).await {
                Ok(Judged::Settled) => settled += 1,
                Ok(Judged::Left) => {}
                Ok(Judged::Asks(disputed)) => self.asks().add(tenant, id, disputed.revision),
                Err(error) if error.retry_after_ms.is_none() => {
                    tracing::info!(%tenant, conflict = %id, %error, "a conflict is left to a person");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(settled)
    }

    /// Which of these conflicts a built-in policy speaks about, where the tenant has no rule of its own.
    async fn built_in_cases(
        &self,
        tenant: &TenantId,
        ids: &BTreeSet<RecordId>,
    ) -> Result<BTreeSet<RecordId>, HubError> {
        let keys = ids.iter().map(|id| key_of(kind::CONFLICT, id.as_str())).collect::<Result<_, _>>()?;
        let read = self.store().load(tenant, &Read { keys, ..Read::default() }).await?.current;
        let of_built_in = |current: &&Current| control_body(Some(*current)).is_some_and(|c| is_built_in(&c));
        Ok(read.values().filter(of_built_in).map(|current| current.pointer.key.id.clone()).collect())
    }

    /// Every open conflict that nobody has settled before; where the tenant has no rule of its own, of those that a
    /// built-in policy speaks about.
    async fn judge_inbox(&self, tenant: &TenantId, has_rules: bool) -> Result<usize, HubError> {
        let kind = Kind::new(kind::CONFLICT).ok();
        let mut query = PointerQuery { kind, rows_max: LIST_ROWS_MAX, ..PointerQuery::default() };
        let mut settled = 0;
        loop {
            let page = self.records(tenant, query.clone()).await?;
            let is_ruled = |conflict: &Conflict| has_rules || is_built_in(conflict);
            let is_new = |c: Conflict| c.open && c.resolution.is_none() && is_ruled(&c);
            let new = page.rows.iter().filter(|row| !row.pointer.deleted);
            let new = new.filter(|row| control_body(Some(row)).is_some_and(is_new));
            let new = new.map(|row| row.pointer.key.id.clone()).collect();
            settled += self.judge_each(tenant, &new).await?;
            query.after = page.rows.last().map(|row| row.pointer.key.clone());
            if page.is_last || query.after.is_none() {
                return Ok(settled);
            }
        }
    }

    pub(super) async fn judge(&self, tenant: &TenantId, id: &RecordId) -> Result<Judged, HubError> {
        let disputed = self.disputed(tenant, id, None).await?;
        let is_new = disputed.conflict.open && disputed.conflict.resolution.is_none();
        if !is_new || disputed.kind.rule.policy == Policy::Manual {
            return Ok(Judged::Left);
        }
        let verdict = match self.by_precedent(tenant, &disputed).await? {
            None if disputed.kind.rule.policy == Policy::Consensus => self.by_vote(tenant, &disputed).await?,
            None if disputed.kind.rule.policy == Policy::ByType => self.by_type(tenant, &disputed).await?,
            None if disputed.kind.rule.policy == Policy::Resolver && self.has_resolver() => {
                return Ok(Judged::Asks(Box::new(disputed)));
            }
            verdict => verdict,
        };
        let Some(Verdict { choice, name, reason, precedent, over }) = verdict else {
            return Ok(Judged::Left);
        };
        let act = Act::Resolve { choice: Chosen::from(&choice), wanted: disputed.wanted(&choice)? };
        let by = Settler { author: NodeId::HUB, name, is_node: false, reason, binds: false };
        self.settle(tenant, disputed, act, by, Terms { precedent, over }).await?;
        Ok(Judged::Settled)
    }

    async fn by_precedent(
        &self,
        tenant: &TenantId,
        disputed: &Disputed,
    ) -> Result<Option<Verdict>, HubError> {
        // A conflict without a signature has no like.
        let Ok(signature) = disputed.signature() else { return Ok(None) };
        let id = signature.id();
        let precedent = self.precedent(tenant, &id).await?;
        let binds = |precedent: &Precedent| precedent.binds(&disputed.conflict, disputed.revision);
        let Some(precedent) = precedent.filter(binds) else { return Ok(None) };
        Ok(Some(Verdict {
            choice: precedent.binding.choice(&disputed.conflict)?,
            name: format!("precedent/{id}"),
            reason: format!("decided by {} on conflict {}", precedent.account.name, precedent.conflict),
            precedent: Some(PrecedentWork::Uses(id)),
            over: None,
        }))
    }

    /// The tenant's own precedent of this id.
    async fn precedent(&self, tenant: &TenantId, id: &RecordId) -> Result<Option<Precedent>, HubError> {
        let key = key_of(kind::PRECEDENT, id.as_str())?;
        let mut found = self.control(tenant, &key).await?;
        if Fault::PrecedentOfAnotherTenant.is_planted() {
            for other in self.store().tenants(None, LIST_ROWS_MAX).await? {
                found = found.or(self.control(&other, &key).await?);
            }
        }
        Ok(control_body(found.as_ref()))
    }

    /// The states vote. What each weighs goes into the reason, so that nobody has to reckon it again.
    pub(super) async fn by_vote(
        &self,
        tenant: &TenantId,
        disputed: &Disputed,
    ) -> Result<Option<Verdict>, HubError> {
        let conflict = &disputed.conflict;
        if !conflict.path.is_empty() || conflict.dropped > 0 {
            return Ok(None);
        }
        let bodies = disputed.bodies();
        let Vote { winner, weights } = vote(&self.states(tenant, &bodies).await?)?;
        let weighed = weights.iter().map(|weight| format!("{} {:.3}", weight.id, weight.score));
        let reason = weighed.collect::<Vec<_>>().join(", ");
        Ok(winner.map(|dot| Verdict {
            choice: Choice::Side(dot),
            name: "consensus".to_owned(),
            reason,
            precedent: None,
            over: None,
        }))
    }

    /// Whether anything in the tenant may be settled without a person, by a rule of its own.
    async fn has_rules(&self, tenant: &TenantId) -> Result<bool, HubError> {
        let is_precedent = |_: &Current| true;
        let is_everywhere = Fault::PrecedentOfAnotherTenant.is_planted();
        let is_rule = |policy| settles_itself(policy) || policy == Policy::Resolver && self.has_resolver();
        let settles = |declared: &Declaration| is_rule(declared.policy);
        let is_set = |set: &PolicySet| set.policy.is_some_and(is_rule);
        Ok(is_everywhere
            || self.any_control(tenant, kind::PRECEDENT, is_precedent).await?
            || self
                .any_control(tenant, kind::POLICY, |row| {
                    control_body(Some(row)).is_some_and(|set| is_set(&set))
                })
                .await?
            || self
                .any_control(tenant, kind::KIND, |row| {
                    control_body(Some(row)).is_some_and(|kind| settles(&kind))
                })
                .await?)
    }

    async fn any_control(
        &self,
        tenant: &TenantId,
        kind: &str,
        is_wanted: impl Fn(&Current) -> bool,
    ) -> Result<bool, HubError> {
        let kind = Kind::new(kind).ok();
        let mut query = PointerQuery { kind, rows_max: LIST_ROWS_MAX, ..PointerQuery::default() };
        loop {
            let page = self.records(tenant, query.clone()).await?;
            if page.rows.iter().any(|row| !row.pointer.deleted && is_wanted(row)) {
                return Ok(true);
            }
            query.after = page.rows.last().map(|row| row.pointer.key.clone());
            if page.is_last || query.after.is_none() {
                return Ok(false);
            }
        }
    }

    /// Revokes a precedent: it settles nothing from the revision on that this returns. What it settled stays so.
    ///
    /// # Errors
    /// NOT_FOUND; STALE; store errors.
    pub async fn revoke_precedent(
        &self,
        tenant: &TenantId,
        author: NodeId,
        id: &RecordId,
    ) -> Result<Revision, HubError> {
        let key = key_of(kind::PRECEDENT, id.as_str())?;
        let stands = self.control(tenant, &key).await?;
        let stands = stands.ok_or_else(|| HubError::new(Reason::NotFound, format!("no precedent {id}")))?;
        self.set_control(tenant, author, key, None, stands.pointer.revision).await
    }
}
