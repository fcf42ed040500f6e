//! A program that settles conflicts, as far as it is there: now and then it is down, or slow, or answers nonsense.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gateway::hub::resolver::{Resolver, Unanswered};
use semantics::ids::{RecordId, Revision};
use semantics::resolution::Choice;
use semantics::resolution::proposal::{Proposal, Question};

use super::exec::Ctx;

/// How often it is asked in a minute.
pub(super) const PER_MINUTE: u32 = 10_000;
/// Its name.
pub(super) const NAME: &str = "oracle";

/// What it has proposed: for which conflict, as it stood when.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<BTreeSet<(RecordId, Revision)>>>);

impl Answers {
    /// Whether it ever proposed something for a conflict.
    pub(super) fn holds(&self, id: &RecordId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(answered, _)| answered == id)
    }
}

/// The program.
#[derive(Debug)]
pub(super) struct SimResolver {
    pub(super) ctx: Ctx,
    pub(super) answers: Answers,
}

#[async_trait]
impl Resolver for SimResolver {
    async fn propose(&self, question: &Question) -> Result<Proposal, Unanswered> {
        let luck = self.ctx.lock().rng.below(10);
        let choice = match luck {
            0..4 => return Err(Unanswered::Unavailable("down".to_owned())),
            4 => return Err(Unanswered::Timeout),
            5 => return Err(Unanswered::Malformed("nonsense".to_owned())),
            6 => None,
            7 => Some(Choice::Keep),
            _ => question.sides.first().map(|said| Choice::Side(said.side.stamp.dot)),
        };
        let mut answers = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert((question.conflict.clone(), question.revision));
        Ok(Proposal { choice, name: NAME.to_owned(), reason: "simulated".to_owned() })
    }
}
