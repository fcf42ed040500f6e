//! Conflicts of kinds with the policy `resolver`: a program of the user's proposes, the hub settles.
//!
//! - `what_is_proposed_is_settled_with_its_name_and_its_reason`: by an act like a person's, on the conflict as it was
//!   when it was asked about; so what came of it is data of the log, and nobody asks again to replay it.
//! - `a_precedent_goes_before_the_resolver`, and then nothing is asked.
//! - `a_conflict_that_moved_is_asked_about_again`: an answer to what it was before is thrown away.
//! - `what_cannot_be_asked_now_is_asked_later`: down or slow, both sides stay and the conflict waits; a person may settle
//!   it meanwhile.
//! - `a_wrong_answer_leaves_the_conflict_to_a_person`, and so does an abstention: neither is asked about again before the
//!   conflict moves.
//! - `without_a_resolver_a_person_settles_it`, and `who_took_a_proposal_back_is_not_asked_over`.
//! - `others_are_settled_while_the_resolver_is_asked`: nothing is held meanwhile, not the log, and no other conflict's
//!   arbitration; `past_the_budget_conflicts_wait`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use semantics::fault::Fault;
use semantics::ids::{Key, NodeId, TenantId};
use semantics::kind;
use semantics::reason::Reason;
use semantics::resolution::proposal::{Proposal, Question};
use semantics::resolution::{Choice, Chosen, shown};

use super::Hub;
use super::arbiter::Judged;
use super::asks::{Asks, Case, Done, Turn};
use super::docket::Cases;
use super::error::HubError;
use super::known::{NodeBody, control_body, control_key};
use super::settle::{Disputed, Terms};
use super::work::{Act, Settler};
use crate::store::Wanted as Read;

/// A program that may settle conflicts.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Asks what is to stand. It ends within a time of its own, has no effect, and may be dropped half-way; the same
    /// question may come again.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn propose(&self, question: &Question) -> Result<Proposal, Unanswered>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody is there, or cannot answer now.
    Unavailable(String),
    /// It took too long.
    Timeout,
    /// What came is no answer.
    Malformed(String),
}

/// What came of asking about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The conflict is settled so.
    Answered,
    /// It is left to a person.
    Abstained,
    /// The answer cannot be taken.
    Refused,
    /// The conflict was another one by then.
    Moved,
    /// It took too long.
    Timeout,
    /// Nobody was there.
    Unavailable,
}

impl Outcome {
    /// Its name in counters and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Abstained => "abstained",
            Self::Refused => "refused",
            Self::Moved => "moved",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What came of it, and how the conflict goes on; with what the log says of it.
struct Asked {
    outcome: Option<Outcome>,
    done: Done,
    told: String,
}

impl Asked {
    fn new(outcome: Outcome, done: Done, told: impl fmt::Display) -> Self {
        Self { outcome: Some(outcome), done, told: told.to_string() }
    }

    /// Nothing was asked.
    const fn not(done: Done) -> Self {
        Self { outcome: None, done, told: String::new() }
    }
}

impl Hub {
    /// With a program to ask, and how often in a minute.
    #[must_use]
    pub fn resolving(self, resolver: Arc<dyn Resolver>, per_minute: u32) -> Self {
        Self { resolver: Some(resolver), asks: Asks::new(per_minute), ..self }
    }

    /// Whether there is a program to ask.
    #[must_use]
    pub fn has_resolver(&self) -> bool {
        self.resolver.is_some()
    }

    /// The conflicts about which the program is to be asked.
    #[must_use]
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Whose turn it is to be asked about.
    #[must_use]
    pub fn turn(&self) -> Turn {
        loop {
            match self.asks.turn(self.clock().now_ms()) {
                Turn::Look(tenant) => self.docket.add(&tenant, Cases::All),
                turn => return turn,
            }
        }
    }

    /// Asks about a conflict whose turn it is, and settles it as is proposed. `None`: nothing had to be asked.
    pub async fn ask(&self, case: &Case) -> Option<Outcome> {
        let asked = self.asked(case).await;
        let (tenant, conflict) = (&case.tenant, &case.id);
        if let Some(outcome) = asked.outcome {
            let (outcome, told) = (outcome.name(), asked.told);
            tracing::info!(%tenant, %conflict, outcome, told, "the resolver was asked about a conflict");
        }
        if self.asks.done(case, asked.done, self.clock().now_ms()) {
            tracing::warn!(%tenant, %conflict, "a conflict is left to a person: the resolver did not answer");
        }
        asked.outcome
    }

    /// Asks about everything that is due, one after the other: for trials, that want an order. Gives what came of each.
    pub async fn ask_due(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Turn::Ask(case) = self.turn() {
            outcomes.extend(self.ask(&case).await);
        }
        outcomes
    }

    async fn asked(&self, case: &Case) -> Asked {
        let question = async {
            let Judged::Asks(disputed) = self.judge(&case.tenant, &case.id).await? else { return Ok(None) };
            Ok::<_, HubError>(Some((self.question(&case.tenant, &disputed).await?, disputed)))
        };
        let (question, disputed) = match question.await {
            Ok(Some(both)) => both,
            Ok(None) => return Asked::not(Done::Over),
            Err(error) if is_final(&error) => return Asked::not(Done::Over),
            Err(_) => return Asked::not(Done::Again),
        };
        let (Some(resolver), at) = (&self.resolver, disputed.revision) else { return Asked::not(Done::Over) };
        let proposal = match resolver.propose(&question).await {
            Ok(proposal) => proposal,
            Err(Unanswered::Unavailable(why)) if Fault::SilenceTakenForAnswer.is_planted() => {
                Proposal { choice: Some(Choice::Keep), name: "silence".to_owned(), reason: why }
            }
            Err(Unanswered::Timeout) => return Asked::new(Outcome::Timeout, Done::Again, ""),
            Err(Unanswered::Unavailable(why)) => return Asked::new(Outcome::Unavailable, Done::Again, why),
            Err(Unanswered::Malformed(why)) => return Asked::new(Outcome::Refused, Done::Left(at), why),
        };
        match self.settle_so(&case.tenant, *disputed, proposal).await {
            Ok(Some(name)) => Asked::new(Outcome::Answered, Done::Over, name),
            Ok(None) => Asked::new(Outcome::Abstained, Done::Left(at), ""),
            Err(error) if error.reason() == Reason::Stale => Asked::new(Outcome::Moved, Done::Again, error),
            Err(error) if is_final(&error) => Asked::new(Outcome::Refused, Done::Left(at), error),
            Err(_) => Asked::not(Done::Again),
        }
    }

    /// The question, with names for those who wrote the sides.
    async fn question(&self, tenant: &TenantId, disputed: &Disputed) -> Result<Question, HubError> {
        let (at, conflict, rule) = (disputed.revision, &disputed.conflict, &disputed.kind.rule);
        let mut question =
            Question::of(tenant, (&disputed.id, at), conflict, rule, |revision| disputed.row(revision));
        let standing = disputed.subject.as_ref();
        question.standing = standing.map(|current| shown(&current.record, rule.policy, &conflict.path));
        let node = |node: NodeId| control_key(kind::NODE, &node.to_string());
        let keys: BTreeSet<Key> = question.sides.iter().filter_map(|said| node(said.author?)).collect();
        let found = self.store().load(tenant, &Read { keys, ..Read::default() }).await?.current;
        for said in &mut question.sides {
            let found = said.author.and_then(node).and_then(|key| found.get(&key));
            said.name = control_body::<NodeBody>(found).map(|node| node.name).unwrap_or_default();
        }
        Ok(question)
    }

    /// Settles a conflict as is proposed for it; gives the name of who settled it. `None`: nothing is proposed.
    async fn settle_so(
        &self,
        tenant: &TenantId,
        disputed: Disputed,
        proposal: Proposal,
    ) -> Result<Option<String>, HubError> {
        proposal.check()?;
        let Some(choice) = &proposal.choice else { return Ok(None) };
        let wanted = disputed.wanted(choice)?;
        let name = proposal.settler();
        let act = Act::Resolve { choice: Chosen::from(choice), wanted };
        let by = Settler {
            author: NodeId::HUB,
            name: name.clone(),
            is_node: false,
            reason: proposal.reason,
            binds: false,
        };
        self.settle(tenant, disputed, act, by, Terms::default()).await?;
        Ok(Some(name))
    }
}

/// Whether trying the same again does not help.
const fn is_final(error: &HubError) -> bool {
    error.retry_after_ms.is_none()
}
