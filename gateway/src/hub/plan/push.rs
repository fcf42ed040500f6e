//! Taking a push into a commit: dots strictly in order, groups whole, each mutation decided by the rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use semantics::conflict::{Clash, ConflictType};
use semantics::decide::{Context, Decision, decide};
use semantics::envelope::{GROUP_BYTES_MAX, GROUP_MUTATIONS_MAX, Placement, Record};
use semantics::fault::Fault;
use semantics::ids::{Dot, Key, NodeId, Revision};
use semantics::kind;
use semantics::matrix::Away;
use semantics::outcome::{DotOutcome, Outcome, Transient};
use semantics::reason::{Reason, Refusal};
use semantics::session::{DotResult, Results, UNANSWERED_MAX};
use semantics::view::View;

use super::writers::Standing;
use super::{Draft, NewRow};
use crate::hub::known::{NodeBody, NodeStatus};
use crate::hub::limits::COMMIT_MUTATIONS_MAX;
use crate::hub::work::{Answer, Item, PushWork};
use crate::store::{AnsweredRange, RowOutcome, WriterRow};

/// A mutation of a kind whose policy is not read here comes again after this, milliseconds: to another gateway, or to
/// this one as it is by then.
const UNREAD_POLICY_WAIT_MS: u64 = 30_000;

/// A mutation that will take effect.
struct Judged {
    record: Record,
    clashes: Vec<Clash>,
    outcome: RowOutcome,
    rule_version: Revision,
}

/// Who pushes.
struct Author {
    node: Arc<NodeBody>,
    view: Arc<View>,
    away: Option<Away>,
    id: NodeId,
    topology: Result<Option<Standing>, Refusal>,
}

/// What taking the next element of a stream came to.
enum Taken {
    Results(Vec<DotResult>),
    Waits(Transient),
    CommitFull,
    Forked(Refusal),
}

impl Draft<'_> {
    pub(super) fn push(&mut self, work: &PushWork) -> Option<Answer> {
        let (mut row, author) = match self.admit(work) {
            Ok(admitted) => admitted,
            Err(refusal) => return Some(Answer::Push(Err(refusal))),
        };
        let confirmed_n = work.confirmed_n.min(row.last_n).max(row.confirmed_n);
        row.answered.retain(|range| range.last_n > confirmed_n && !Fault::OutcomeForgotten.is_planted());
        row.confirmed_n = confirmed_n;
        let mut results = Results { writer: work.writer, outcomes: Vec::new(), waits: None };
        let mut is_whole = true;
        let mut rest = work.items.as_slice();
        while !rest.is_empty() {
            match self.take_next(&mut row, &author, rest) {
                Taken::Results(outcomes) => {
                    rest = rest.get(outcomes.len()..).unwrap_or_default();
                    results.outcomes.extend(outcomes);
                }
                Taken::Waits(transient) => {
                    results.waits = Some(transient);
                    break;
                }
                Taken::CommitFull => {
                    is_whole = false;
                    break;
                }
                Taken::Forked(refusal) => return Some(Answer::Push(Err(refusal))),
            }
        }
        if self.writer(&work.writer).is_none_or(|before| before.last_n != row.last_n) {
            self.writers.insert(work.writer, row);
        }
        is_whole.then_some(Answer::Push(Ok(results)))
    }

    fn admit(&self, work: &PushWork) -> Result<(WriterRow, Author), Refusal> {
        let node = self.known.node(work.writer.node).filter(|node| node.status == NodeStatus::Active);
        let node =
            node.ok_or_else(|| Refusal::new(Reason::NodeRevoked, "this node is not registered here"))?;
        let row = self.writer(&work.writer).filter(|row| !row.closed).cloned().ok_or_else(|| {
            Refusal::new(Reason::NodeForked, format!("epoch {} is not open", work.writer.epoch))
        })?;
        let (id, view, topology) = (work.writer.node, self.known.view(work.writer.node), self.topology());
        Ok((row, Author { node, view, away: work.away, id, topology }))
    }

    fn take_next(&mut self, row: &mut WriterRow, author: &Author, rest: &[Item]) -> Taken {
        let Some(item) = rest.first() else { return Taken::CommitFull };
        let n = item.n();
        let is_known = !Fault::DuplicateByDomination.is_planted() || self.is_dominated(item);
        if n <= row.last_n && is_known {
            return self.repeat(row, item);
        }
        let expected = row.last_n + 1;
        if n > expected {
            return Taken::Waits(wait(
                expected,
                Reason::OutOfOrder,
                format!("expected {expected}, got {n}"),
                0,
            ));
        }
        if n > row.confirmed_n.saturating_add(UNANSWERED_MAX) {
            let detail = format!("more than {UNANSWERED_MAX} answers are not confirmed");
            return Taken::Waits(wait(n, Reason::Overloaded, detail, 100));
        }
        let unit = unit(rest);
        let is_full = self.outcomes.len() + unit.len() > COMMIT_MUTATIONS_MAX || self.bytes >= self.bytes_max;
        if is_full && !self.outcomes.is_empty() {
            return Taken::CommitFull;
        }
        if let Some(ahead) = unit.iter().find(|item| self.is_ahead(item)) {
            let detail = format!("the stamp of dot {} is too far ahead of {}", ahead.n(), self.head.time_ms);
            return Taken::Waits(wait(n, Reason::ClockAhead, detail, 1_000));
        }
        if let Err(unread) = unit.iter().try_for_each(|item| self.check_is_ruled(author, item)) {
            return Taken::Waits(wait(n, unread.reason, unread.detail, UNREAD_POLICY_WAIT_MS));
        }
        let outcomes = self.take_unit(author, unit);
        let mut results = Vec::new();
        for (item, outcome) in unit.iter().zip(outcomes) {
            results.push(DotResult { n: item.n(), outcome: Some(outcome.clone()) });
            self.consume(row, item, outcome);
        }
        Taken::Results(results)
    }

    fn repeat(&self, row: &WriterRow, item: &Item) -> Taken {
        let n = item.n();
        if n <= row.confirmed_n {
            return Taken::Results(vec![DotResult { n, outcome: None }]);
        }
        let dot = Dot { writer: row.writer, n };
        let now = self.outcomes.iter().rev().find(|answer| answer.dot == dot);
        match now.or_else(|| self.known.answer(dot)) {
            Some(answer) if answer.digest == item.digest() => {
                Taken::Results(vec![DotResult { n, outcome: Some(answer.outcome.clone()) }])
            }
            Some(_) => {
                Taken::Forked(Refusal::new(Reason::NodeForked, format!("{dot} was given to something else")))
            }
            None => Taken::Forked(Refusal::new(Reason::StoreCorrupt, format!("the answer to {dot} is gone"))),
        }
    }

    /// For a planted fault: what duplicates must never be judged by.
    fn is_dominated(&self, item: &Item) -> bool {
        let Item::Mutation { parsed, .. } = item else { return true };
        let current = self.current(&parsed.mutation.key);
        current.is_some_and(|current| current.record.version.contains(parsed.mutation.dot))
    }

    fn is_ahead(&self, item: &Item) -> bool {
        matches!(item, Item::Mutation { parsed, .. } if parsed.mutation.time.is_ahead_of(self.head.time_ms))
    }

    fn check_is_ruled(&self, author: &Author, item: &Item) -> Result<(), Refusal> {
        match item {
            Item::Mutation { parsed, .. } => {
                self.check_policy_is_read(&parsed.mutation.key.kind)?;
                author.topology.as_ref().map(drop).map_err(Clone::clone)
            }
            Item::Refused { .. } | Item::Withdraw { .. } => Ok(()),
        }
    }

    fn consume(&mut self, row: &mut WriterRow, item: &Item, outcome: Outcome) {
        let n = item.n();
        if let Item::Mutation { parsed, .. } = item
            && Fault::TimeFollowsStamps.is_planted()
        {
            self.head.time_ms = self.head.time_ms.max(parsed.mutation.time.ms);
        }
        if matches!(outcome, Outcome::Rejected(_)) && Fault::RevisionFromSequence.is_planted() {
            self.head.revision = self.head.revision.next();
        }
        row.last_n = n;
        row.last_digest = item.digest();
        match row.answered.last_mut().filter(|range| range.commit == self.head.commit) {
            Some(range) => range.last_n = n,
            None => row.answered.push(AnsweredRange { first_n: n, last_n: n, commit: self.head.commit }),
        }
        let dot = Dot { writer: row.writer, n };
        self.outcomes.push(DotOutcome { dot, mutation: item.mutation_id(), digest: item.digest(), outcome });
    }

    /// Decides a mutation or a whole group, then writes it; a group is refused as one.
    fn take_unit(&mut self, author: &Author, unit: &[Item]) -> Vec<Outcome> {
        if let Err(refusal) = check_bounds(unit) {
            return refuse_unit(unit.len(), 0, &refusal);
        }
        let mut overlay: BTreeMap<Key, Record> = BTreeMap::new();
        let mut judged = Vec::new();
        let mut revision = self.head.revision.next();
        for (at, item) in unit.iter().enumerate() {
            let before = unit.get(..at).unwrap_or_default();
            let (retired, ancestor) = match item {
                Item::Mutation { parsed, .. } => {
                    let retired = self.retired(&parsed.mutation, &overlay);
                    let ancestor = self.ancestor_body(parsed, before, &overlay, &retired);
                    (retired, ancestor)
                }
                Item::Refused { .. } | Item::Withdraw { .. } => Default::default(),
            };
            let default_placement = Placement { domain: author.node.domain.clone(), subject: None };
            let context = Context { default_placement, ancestor, revision: Some(revision), retired };
            match self.judge(author, item, unit.len(), &overlay, &context) {
                Ok(Some(verdict)) => {
                    revision = revision.next();
                    if at + 1 < unit.len() {
                        overlay.insert(verdict.record.key.clone(), verdict.record.clone());
                    }
                    judged.push(Some(verdict));
                }
                Ok(None) => judged.push(None),
                Err(refusal) => return refuse_unit(unit.len(), at, &refusal),
            }
        }
        unit.iter().zip(judged).map(|(item, verdict)| self.write(item, verdict, author.away)).collect()
    }

    fn judge(
        &self,
        author: &Author,
        item: &Item,
        unit_size: usize,
        overlay: &BTreeMap<Key, Record>,
        context: &Context,
    ) -> Result<Option<Judged>, Refusal> {
        let parsed = match item {
            Item::Withdraw { .. } => return Ok(None),
            Item::Refused { refusal, .. } => return Err(refusal.clone()),
            Item::Mutation { parsed, .. } => parsed,
        };
        let mutation = &parsed.mutation;
        let is_whole = |size: u32| usize::try_from(size) == Ok(unit_size) || Fault::GroupSplit.is_planted();
        if mutation.group.is_some_and(|group| !is_whole(group.size)) {
            return Err(Refusal::new(Reason::GroupRejected, "the group did not come whole"));
        }
        let kind = &mutation.key.kind;
        if !kind::is_pushable(kind) {
            return Err(Refusal::new(Reason::ControlKind, format!("kind {kind} is not pushed")));
        }
        let Some(known) = self.known.kind(kind) else {
            return Err(Refusal::new(Reason::KindUndeclared, format!("no kind {kind} is declared")));
        };
        if known.declaration.signed && mutation.signature.is_none() {
            return Err(Refusal::new(Reason::BadSignature, format!("kind {kind} asks for a signature")));
        }
        let standing = self.current(&mutation.key);
        if standing.is_some_and(|current| !author.view.contains(&current.pointer.cell)) {
            return Err(not_in_view());
        }
        let topology = author.topology.as_ref().ok().and_then(Option::as_ref);
        let ruled = topology.filter(|(topology, _)| topology.speaks_of(kind));
        if let Some(current) = standing {
            self.check_primary(ruled, author.id, (kind, &current.pointer.cell.domain))?;
        }
        let current = overlay.get(&mutation.key).or(standing.map(|current| &current.record));
        let mut decision = decide(current, parsed, &known.rule, context);
        let is_merged = context.ancestor.is_some();
        if is_merged && decision.record().is_some_and(|record| known.check(parsed, record).is_err()) {
            // Each side fits the schema and what they make together does not: both are kept whole.
            let apart = Context { ancestor: None, ..context.clone() };
            decision = decide(current, parsed, &known.rule, &apart);
        }
        let (record, clashes, outcome) = match decision {
            Decision::Applied(record) => (record, Vec::new(), RowOutcome::Applied),
            Decision::Merged(_) if Fault::GoodWriteRefused.is_planted() => {
                return Err(Refusal::new(Reason::RecordGone, "planted"));
            }
            Decision::Merged(record) => (record, Vec::new(), RowOutcome::Merged),
            Decision::Conflicted { record, clashes } => (record, clashes, RowOutcome::Conflicted),
            Decision::Rejected(refusal) => return Err(refusal),
        };
        if !record.is_deleted() && !author.view.contains(&record.cell()) {
            return Err(not_in_view());
        }
        self.check_primary(ruled, author.id, (kind, &record.placement.domain))?;
        known.check(parsed, &record)?;
        let rule_version = ruled.map_or(known.rule.version, |(_, version)| known.rule.version.max(*version));
        let rule_version = if Fault::RuleVersionLost.is_planted() { Revision::ZERO } else { rule_version };
        Ok(Some(Judged { record: *record, clashes, outcome, rule_version }))
    }

    fn write(&mut self, item: &Item, verdict: Option<Judged>, away: Option<Away>) -> Outcome {
        let (Item::Mutation { parsed, .. }, Some(verdict)) = (item, verdict) else {
            return Outcome::Withdrawn;
        };
        let mutation = &parsed.mutation;
        let before = self.current(&mutation.key).map(|current| current.pointer.revision).unwrap_or_default();
        let causes: Vec<_> = verdict
            .clashes
            .iter()
            .map(|clash| self.cause(parsed, clash.conflict_type, before, away))
            .collect();
        let gone_on = if verdict.clashes.is_empty() { self.side_gone_on(mutation) } else { None };
        let cause = match gone_on {
            Some(_) => self.cause(parsed, ConflictType::Version, before, away),
            None => None,
        };
        let revision = self.place(NewRow {
            record: verdict.record,
            dot: mutation.dot,
            mutation: Some(mutation.clone()),
            outcome: verdict.outcome,
            rule_version: verdict.rule_version,
        });
        for (clash, cause) in verdict.clashes.iter().zip(causes) {
            self.clash((mutation, clash), cause, (revision, before));
        }
        if let Some(side) = gone_on {
            self.go_on(mutation, side, cause, revision);
        }
        match verdict.outcome {
            RowOutcome::Applied | RowOutcome::Control => Outcome::Applied { revision },
            RowOutcome::Merged => Outcome::Merged { revision },
            RowOutcome::Conflicted => Outcome::Conflicted { revision },
        }
    }
}

fn not_in_view() -> Refusal {
    Refusal::new(Reason::NotInView, "this node may not write there")
}

fn wait(n: u64, reason: Reason, detail: String, retry_after_ms: u64) -> Transient {
    Transient { n, reason, detail, retry_after_ms }
}

/// The next mutation, or the next whole group. A group that is not whole is taken one by one, to be refused.
fn unit(rest: &[Item]) -> &[Item] {
    let whole = rest.first().and_then(Item::group).filter(|group| group.index == 0).and_then(|first| {
        let size = usize::try_from(first.size).ok().filter(|size| *size > 0)?;
        let unit = rest.get(..size)?;
        let is_whole = unit.iter().zip(0_u32..).all(|(item, index)| {
            item.group().is_some_and(|g| g.id == first.id && g.index == index && g.size == first.size)
        });
        is_whole.then_some(unit)
    });
    whole.filter(|_| !Fault::GroupSplit.is_planted()).unwrap_or(rest.get(..1).unwrap_or(rest))
}

fn check_bounds(unit: &[Item]) -> Result<(), Refusal> {
    let bytes: usize = unit
        .iter()
        .map(|item| match item {
            Item::Mutation { parsed, .. } => parsed.mutation.op.bytes(),
            Item::Refused { .. } | Item::Withdraw { .. } => 0,
        })
        .sum();
    if unit.len() > GROUP_MUTATIONS_MAX || bytes > GROUP_BYTES_MAX {
        let detail = format!(
            "a group of {} mutations and {bytes} bytes; {GROUP_MUTATIONS_MAX} and {GROUP_BYTES_MAX} are allowed",
            unit.len()
        );
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(())
}

fn refuse_unit(size: usize, at: usize, refusal: &Refusal) -> Vec<Outcome> {
    let because = format!("number {} of the group: {refusal}", at + 1);
    let others = Refusal::new(Reason::GroupRejected, because);
    (0..size).map(|i| Outcome::Rejected(if i == at { refusal.clone() } else { others.clone() })).collect()
}
