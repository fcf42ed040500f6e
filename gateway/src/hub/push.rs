//! Taking a push: everything that needs no state is checked before it waits for the committer.

use semantics::decide;
use semantics::digest;
use semantics::envelope::Mutation;
use semantics::ids::Writer;
use semantics::matrix::Away;
use semantics::outcome::Transient;
use semantics::reason::{Reason, Refusal};
use semantics::session::{PUSH_BYTES_MAX, Push, PushItem, Results, UNANSWERED_MAX};

use super::error::HubError;
use super::work::{Answer, Item, PushWork, Work};
use super::{Entered, Hub, Principal};

impl Hub {
    /// Takes part of a writer's stream. Answers when the outcomes are durable: one for each element up to where
    /// the stream waits.
    ///
    /// # Errors
    /// MALFORMED and TOO_LARGE for the push as a whole, PERMISSION_DENIED for another node's stream,
    /// NODE_REVOKED, NODE_FORKED; store errors, after which the push may be repeated as it was.
    pub async fn push(&self, who: &Principal, push: Push) -> Result<Results, HubError> {
        self.push_of(who, push, None).await
    }

    /// As [`Hub::push`], of a replica of which is known how far it had the log when it came back.
    ///
    /// # Errors
    /// As [`Hub::push`].
    pub async fn push_of(
        &self,
        who: &Principal,
        push: Push,
        away: Option<Away>,
    ) -> Result<Results, HubError> {
        self.begin_push(who, push, away).await?.results().await
    }

    /// Checks a push and enters it at the committer's, behind those that were begun before.
    ///
    /// # Errors
    /// As [`Hub::push`], but for what the commit says.
    pub(crate) async fn begin_push(
        &self,
        who: &Principal,
        push: Push,
        away: Option<Away>,
    ) -> Result<Begun, HubError> {
        if push.writer.node != who.node {
            return Err(HubError::new(Reason::PermissionDenied, "a node pushes its own stream only"));
        }
        let writer = push.writer;
        if let Some(retry_after_ms) =
            self.parts().admission.admit(who, push.items.len(), self.clock().now_ms())
        {
            let (n, detail) = (first_n(&push), "the quota of this node is used up".to_owned());
            let waits = Transient { n, reason: Reason::QuotaExceeded, detail, retry_after_ms };
            return Ok(Begun { writer, waits: Some(waits), entered: None });
        }
        let (push, waits) = self.part_with_causes(who, push).await?;
        if push.items.is_empty() && waits.is_some() {
            return Ok(Begun { writer, waits, entered: None });
        }
        let work = PushWork { writer, confirmed_n: push.confirmed_n, away, items: items(push)? };
        let entered = Some(self.enter(&self.tenant(&who.tenant), Work::Push(work))?);
        Ok(Begun { writer, waits, entered })
    }
}

/// A push on its way.
#[derive(Debug)]
pub(crate) struct Begun {
    writer: Writer,
    /// From where on it waits anyway.
    waits: Option<Transient>,
    /// What the committer has of it.
    entered: Option<Entered>,
}

impl Begun {
    /// Waits until the outcomes are durable, or it is its turn to commit them, with what else waits: whether it is. Who goes
    /// away then breaks that commit off.
    pub(crate) async fn leads(&mut self) -> bool {
        match &mut self.entered {
            Some(entered) => entered.leads().await,
            None => false,
        }
    }

    /// Waits until the outcomes are durable.
    pub(crate) async fn results(self) -> Result<Results, HubError> {
        let Self { writer, waits, entered } = self;
        let Some(entered) = entered else { return Ok(Results { writer, outcomes: Vec::new(), waits }) };
        match entered.answer().await? {
            Answer::Push(results) => {
                let results = results?;
                Ok(Results { waits: results.waits.or(waits), ..results })
            }
            Answer::Control(_) | Answer::Settled(_) | Answer::Done(_) => {
                Err(HubError::internal("a push got another answer"))
            }
        }
    }
}

/// The counter that a push begins with.
pub(super) fn first_n(push: &Push) -> u64 {
    push.items.first().map_or(1, item_n)
}

fn item_n(item: &PushItem) -> u64 {
    match item {
        PushItem::Mutation(mutation) => mutation.dot.n,
        PushItem::Withdraw { n, .. } => *n,
    }
}

fn items(push: Push) -> Result<Vec<Item>, HubError> {
    let bytes: usize = push.items.iter().map(bytes).sum();
    let count = u64::try_from(push.items.len()).unwrap_or(u64::MAX);
    if count > UNANSWERED_MAX || bytes > PUSH_BYTES_MAX {
        let detail =
            format!("{count} elements of {bytes} bytes; {UNANSWERED_MAX} of {PUSH_BYTES_MAX} are allowed");
        return Err(HubError::new(Reason::TooLarge, detail));
    }
    let writer = push.writer;
    let mut last_n = None;
    let mut items = Vec::new();
    for item in push.items {
        let n = item_n(&item);
        if n == 0 || last_n.is_some_and(|last: u64| last.checked_add(1) != Some(n)) {
            let detail = format!("counters must be dense from 1; found {n} after {last_n:?}");
            return Err(HubError::new(Reason::Malformed, detail));
        }
        last_n = Some(n);
        items.push(match item {
            PushItem::Withdraw { n, mutation, digest } => Item::Withdraw { n, mutation, digest },
            PushItem::Mutation(mutation) => mutation_item(writer, *mutation)?,
        });
    }
    Ok(items)
}

fn bytes(item: &PushItem) -> usize {
    match item {
        PushItem::Mutation(mutation) => mutation.op.bytes(),
        PushItem::Withdraw { .. } => 0,
    }
}

fn mutation_item(writer: Writer, mutation: Mutation) -> Result<Item, HubError> {
    if mutation.dot.writer != writer {
        return Err(HubError::new(Reason::Malformed, "a mutation's dot is of another writer"));
    }
    let digest = digest::mutation_digest(&mutation);
    let (n, id, group) = (mutation.dot.n, mutation.id, mutation.group);
    let refused = |refusal: Refusal| Item::Refused { n, mutation: id, digest, group, refusal };
    if mutation.author != writer.node {
        return Ok(refused(Refusal::new(Reason::PermissionDenied, "the author is another node")));
    }
    Ok(match decide::parse(mutation) {
        Ok(parsed) => Item::Mutation { parsed: Box::new(parsed), digest },
        Err(refusal) => refused(refusal),
    })
}
