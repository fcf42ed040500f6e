//! The hub's own arbiter: settles what a rule settles without a person, once it has come up.
//!
//! - `a_like_conflict_is_settled_by_its_precedent`: one commit closes it, names the precedent and counts its use.
//! - `a_near_miss_waits_for_a_person`, and so does everything that no rule speaks about.
//! - `a_precedent_that_is_revoked_settles_nothing_more`; it is looked at again in the commit.
//! - `who_took_a_resolution_back_is_not_overruled`: a conflict that was once settled is a person's.
//! - `states_of_a_consensus_kind_vote`: the heaviest is made to stand, the weights are the reason; a tie, and a side that
//!   nobody can read, wait for a person.
//! - A conflict of a kind with the policy `resolver` is handed on to be asked about, where there is somebody to ask: see
//!   [`super::resolver`].
//! - A rule that its conflict refuses (the record is gone, its schema would not hold) leaves it to a person. An error of
//!   the store leaves all that was not judged yet for the next time.

use std::collections::BTreeSet;

use semantics::clock::Stamp;
use semantics::conflict::{Conflict, Side};
use semantics::health::Health;
use semantics::identity::vote::{State, Vote, vote};
use semantics::ids::{Kind, NodeId, RecordId, Revision, TenantId};
use semantics::kind::{self, Declaration, Policy, PolicySet};
use semantics::precedent::Precedent;
use semantics::reason::Reason;
use semantics::resolution::{Choice, Chosen, Wanted};

use super::Hub;
use super::control::key_of;
use super::docket::{Cases, Docket};
use super::error::HubError;
use super::known::control_body;
use super::query::LIST_ROWS_MAX;
use super::settle::Disputed;
use super::work::{Act, PrecedentWork, Settler};
use crate::store::{Current, PointerQuery};

/// What a rule says of a conflict.
struct Verdict {
    choice: Choice,
    /// The rule, as the account of the settlement names it.
    name: String,
    reason: String,
    precedent: Option<PrecedentWork>,
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
        if !self.has_rules(tenant).await? {
            return Ok(0);
        }
        match cases {
            Cases::Some(ids) => self.judge_each(tenant, ids).await,
            Cases::All => self.judge_inbox(tenant).await,
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

    /// Every open conflict that nobody has settled before.
    async fn judge_inbox(&self, tenant: &TenantId) -> Result<usize, HubError> {
        let kind = Kind::new(kind::CONFLICT).ok();
        let mut query = PointerQuery { kind, rows_max: LIST_ROWS_MAX, ..PointerQuery::default() };
        let mut settled = 0;
        loop {
            let page = self.records(tenant, query.clone()).await?;
            let is_new = |conflict: Conflict| conflict.open && conflict.resolution.is_none();
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
            None if disputed.kind.rule.policy == Policy::Resolver && self.has_resolver() => {
                return Ok(Judged::Asks(Box::new(disputed)));
            }
            verdict => verdict,
        };
        let Some(Verdict { choice, name, reason, precedent }) = verdict else { return Ok(Judged::Left) };
        let act = Act::Resolve { choice: Chosen::from(&choice), wanted: disputed.wanted(&choice)? };
        let by = Settler { author: NodeId::HUB, name, is_node: false, reason, binds: false };
        self.settle(tenant, disputed, act, by, precedent).await?;
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
        let found = self.control(tenant, &key_of(kind::PRECEDENT, id.as_str())?).await?;
        let precedent: Option<Precedent> = control_body(found.as_ref());
        let binds = |precedent: &Precedent| precedent.binds(&disputed.conflict, disputed.revision);
        let Some(precedent) = precedent.filter(binds) else { return Ok(None) };
        Ok(Some(Verdict {
            choice: precedent.binding.choice(&disputed.conflict)?,
            name: format!("precedent/{id}"),
            reason: format!("decided by {} on conflict {}", precedent.account.name, precedent.conflict),
            precedent: Some(PrecedentWork::Uses(id)),
        }))
    }

    /// The states vote. What each weighs goes into the reason, so that nobody has to reckon it again.
    async fn by_vote(&self, tenant: &TenantId, disputed: &Disputed) -> Result<Option<Verdict>, HubError> {
        let conflict = &disputed.conflict;
        if !conflict.path.is_empty() || conflict.dropped > 0 {
            return Ok(None);
        }
        let health = self.health(tenant).await?;
        let says = |side: &Side| disputed.wanted(&Choice::Side(side.stamp.dot)).ok();
        let bodies: Vec<(Stamp, Option<Wanted>)> =
            conflict.sides().map(|side| (side.stamp, says(side))).collect();
        let states: Vec<State<'_>> = bodies
            .iter()
            .map(|(stamp, wanted)| State {
                stamp: *stamp,
                body: if let Some(Wanted::Value(body)) = wanted { Some(body) } else { None },
                health: health.get(&stamp.dot.writer.node).copied().unwrap_or(Health::Offline),
            })
            .collect();
        let Vote { winner, weights } = vote(&states)?;
        let weighed = weights.iter().map(|weight| format!("{} {:.3}", weight.id, weight.score));
        let reason = weighed.collect::<Vec<_>>().join(", ");
        Ok(winner.map(|dot| Verdict {
            choice: Choice::Side(dot),
            name: "consensus".to_owned(),
            reason,
            precedent: None,
        }))
    }

    /// Whether anything in the tenant may be settled without a person.
    async fn has_rules(&self, tenant: &TenantId) -> Result<bool, HubError> {
        let is_precedent = |_: &Current| true;
        let is_rule =
            |policy| policy == Policy::Consensus || policy == Policy::Resolver && self.has_resolver();
        let settles = |declared: &Declaration| is_rule(declared.policy);
        let is_set = |set: &PolicySet| set.policy.is_some_and(is_rule);
        Ok(self.any_control(tenant, kind::PRECEDENT, is_precedent).await?
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
