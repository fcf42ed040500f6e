//! Rows of a record's history with what explains them: the policy that decided, what the author had not seen, and the
//! conflicts that came of it.
//!
//! - `history_says_against_what_a_row_was_written_and_why_it_is_as_it_is`.
//! - `the_policy_of_a_row_is_the_one_that_applied_then`.
//! - `a_row_names_its_conflict_among_as_many_as_a_commit_may_have`.
//! - `a_row_tells_how_its_conflict_was_settled_where_nothing_was_written`.

use proto::v1;
use semantics::builtin::builtin;
use semantics::conflict::Conflict;
use semantics::decide::is_kept_unread;
use semantics::envelope::Mutation;
use semantics::ids::{CommitNumber, Dot, Key, Kind, RecordId, Revision, TenantId};
use semantics::kind::{self, Declaration, Policy, PolicySet};
use semantics::reason::Reason;
use semantics::version::Version;
use semantics::view::View;
use serde::de::DeserializeOwned;

use super::conflicts::{last_settlement, settlements};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::{control_body, control_key};
use crate::store::{LogRow, RowOutcome};

/// Most dots that a row names of what its author had not seen.
const UNSEEN_MAX: usize = 64;
/// Most rows of a kind's rules that are looked through.
const RULES_MAX: usize = 64;
/// Rows of a commit's end that are read at once.
const CONFLICTS_AT_ONCE: u64 = 64;
/// Most of them that are read for one row: a conflict of every mutation that a commit takes, and four times that.
const CONFLICTS_MAX: u64 = 4_096;

/// Rows with what explains them. `view` is what the asker sees; an operator sees all.
pub(super) async fn explained(
    hub: &Hub,
    tenant: &TenantId,
    rows: Vec<LogRow>,
    view: Option<&View>,
) -> Result<Vec<v1::HistoryRow>, HubError> {
    let Some(kind) = rows.first().map(|row| row.record.key.kind.clone()) else { return Ok(Vec::new()) };
    let rules = Rules::of(hub, tenant, &kind).await?;
    let conflicts = Conflicts { hub, tenant, view };
    let oldest = previous_of(hub, tenant, rows.last()).await?;
    let mut facts = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let before = rows.get(at + 1).or(oldest.as_ref()).filter(|before| before.revision == row.previous);
        let policy = rules.at(row.revision).filter(|_| row.mutation.is_some());
        facts.push((policy, unseen(row, before), conflicts.of(row, policy).await?));
    }
    let told = settlements(hub, tenant, rows, view).await?;
    let rows = told.into_iter().zip(facts).map(|(row, (policy, unseen, conflicts))| v1::HistoryRow {
        policy: policy.map(|policy| policy.name().to_owned()).unwrap_or_default(),
        unseen: unseen.into_iter().map(Into::into).collect(),
        conflicts,
        ..row
    });
    Ok(rows.collect())
}

async fn previous_of(hub: &Hub, tenant: &TenantId, row: Option<&LogRow>) -> Result<Option<LogRow>, HubError> {
    match row.map(|row| row.previous).filter(|previous| *previous != Revision::ZERO) {
        Some(previous) => Ok(hub.store().rows(tenant, &[previous].into()).await?.pop()),
        None => Ok(None),
    }
}

/// What the row before held and the author of this one had not seen.
fn unseen(row: &LogRow, before: Option<&LogRow>) -> Vec<Dot> {
    let (Some(mutation), Some(before)) = (&row.mutation, before) else { return Vec::new() };
    let seen = mutation.base.own.into_iter().fold(mutation.base.version.clone(), Version::with);
    before.record.version.beyond(&seen).take(UNSEEN_MAX).collect()
}

/// The rules of a kind, newest first, as far as they are kept.
struct Rules {
    declared: Kept<Declaration>,
    set: Kept<PolicySet>,
    built_in: Option<Policy>,
}

/// What is kept of a control record, newest first.
struct Kept<T> {
    rows: Vec<(Revision, Option<T>)>,
    /// Whether nothing is missing before the oldest of them.
    is_whole: bool,
}

impl<T: DeserializeOwned> Kept<T> {
    async fn of(hub: &Hub, tenant: &TenantId, key: Option<Key>) -> Result<Self, HubError> {
        let Some(key) = key else { return Ok(Self { rows: Vec::new(), is_whole: true }) };
        let history = match hub.history(tenant, &key, None, RULES_MAX).await {
            Ok(history) => history.rows,
            Err(error) if error.refusal.reason == Reason::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let is_whole = history.last().is_none_or(|oldest| oldest.previous == Revision::ZERO);
        let read = |row: LogRow| {
            (row.revision, row.record.body().and_then(|body| serde_json::from_slice(body).ok()))
        };
        Ok(Self { rows: history.into_iter().map(read).collect(), is_whole })
    }

    /// What stood before a revision; the outer none: that is not kept.
    fn before(&self, revision: Revision) -> Option<Option<&T>> {
        match self.rows.iter().find(|(at, _)| *at < revision) {
            Some((_, body)) => body.as_ref().map(Some),
            None => self.is_whole.then_some(None),
        }
    }
}

impl Rules {
    async fn of(hub: &Hub, tenant: &TenantId, kind: &Kind) -> Result<Self, HubError> {
        Ok(Self {
            declared: Kept::of(hub, tenant, control_key(kind::KIND, kind.as_str())).await?,
            set: Kept::of(hub, tenant, control_key(kind::POLICY, kind.as_str())).await?,
            built_in: builtin(kind).map(|declaration| declaration.policy),
        })
    }

    /// The policy that applied to the row at a revision.
    fn at(&self, revision: Revision) -> Option<Policy> {
        let set = self.set.before(revision)?;
        match set.and_then(|set| set.policy) {
            Some(policy) => Some(policy),
            None => self.declared.before(revision)?.map(|declared| declared.policy).or(self.built_in),
        }
    }
}

/// The conflict records of commits: they stand at a commit's end.
struct Conflicts<'a> {
    hub: &'a Hub,
    tenant: &'a TenantId,
    view: Option<&'a View>,
}

impl Conflicts<'_> {
    /// Those of the row's record in the row's commit, and what became of them.
    async fn of(&self, row: &LogRow, policy: Option<Policy>) -> Result<Vec<v1::RowConflict>, HubError> {
        if row.outcome != RowOutcome::Conflicted {
            return Ok(Vec::new());
        }
        let is_unread = row
            .mutation
            .as_ref()
            .zip(policy)
            .is_some_and(|(mutation, policy)| is_kept_unread(mutation, &row.record, policy));
        let mut told = Vec::new();
        for (id, conflict) in self.at_the_end_of(row).await? {
            let stamp = row.mutation.as_ref().map(Mutation::stamp);
            let now = match control_key(kind::CONFLICT, id.as_str()) {
                Some(key) => self.hub.record(self.tenant, &key).await?,
                None => None,
            };
            // It may have left the view since, with the record.
            let now = now.filter(|now| self.view.is_none_or(|view| view.contains(&now.pointer.cell)));
            let now: Option<Conflict> = control_body(now.as_ref());
            told.push(v1::RowConflict {
                path: conflict.path.clone(),
                r#type: conflict.type_name().to_owned(),
                stands: Some((&conflict.primary.stamp.dot).into()),
                kept_out: stamp.is_some_and(|stamp| {
                    conflict.primary.stamp != stamp && (conflict.collapsed == Some(stamp) || is_unread)
                }),
                open: now.as_ref().is_some_and(|now| now.open),
                settlement: now.and_then(|now| last_settlement(&id, &now)),
                id: id.to_string(),
            });
        }
        Ok(told)
    }

    /// The conflicts about the row's record, read from the commit's end back to what is no conflict.
    async fn at_the_end_of(&self, row: &LogRow) -> Result<Vec<(RecordId, Conflict)>, HubError> {
        let before = CommitNumber(row.commit.0.saturating_sub(1));
        let commit = self.hub.store().commits_after(self.tenant, before, 1).await?.pop();
        let Some(commit) = commit.filter(|commit| commit.number == row.commit) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let (mut last, least) =
            (commit.last.0, commit.last.0.saturating_sub(CONFLICTS_MAX).max(row.revision.0));
        while last > least {
            let first = last.saturating_sub(CONFLICTS_AT_ONCE).max(least);
            let revisions = (first..last).map(|before| Revision(before).next());
            let rows = self.hub.of_rows(self.tenant, revisions, |row| row).await?;
            let all = rows.len();
            let conflicts = rows.into_iter().filter(|row| kind::is_conflict(&row.record.key.kind));
            let conflicts: Vec<LogRow> = conflicts.collect();
            let is_end = conflicts.len() < all;
            let shown =
                conflicts.into_iter().filter(|row| self.view.is_none_or(|view| view.contains(&row.cell)));
            found.extend(shown.filter_map(|about| {
                let conflict: Conflict = serde_json::from_slice(about.record.body()?).ok()?;
                (conflict.subject == row.record.key).then(|| (about.record.key.id.clone(), conflict))
            }));
            if is_end {
                break;
            }
            last = first;
        }
        Ok(found)
    }
}
