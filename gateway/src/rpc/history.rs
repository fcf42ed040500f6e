//! Rows of a record's history with what explains them: the policy that decided, what the author had not seen, and the
//! conflicts that came of it.
//!
//! - `history_says_against_what_a_row_was_written_and_why_it_is_as_it_is`.
//! - `the_policy_of_a_row_is_the_one_that_applied_then`.

use std::collections::BTreeMap;

use proto::v1;
use semantics::builtin::builtin;
use semantics::conflict::Conflict;
use semantics::ids::{CommitNumber, Dot, Key, Kind, Revision, TenantId};
use semantics::kind::{self, Declaration, Policy, PolicySet};
use semantics::reason::Reason;
use semantics::version::Version;
use semantics::view::View;
use serde::de::DeserializeOwned;

use super::conflicts::settlements;
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::control_key;
use crate::store::{LogRow, RowOutcome};

/// Most dots that a row names of what its author had not seen.
const UNSEEN_MAX: usize = 64;
/// Most rows of a kind's rules that are looked through.
const RULES_MAX: usize = 64;
/// Most conflicts of one commit that are looked through.
const CONFLICTS_MAX: u64 = 64;

/// Rows with what explains them. `view` is what the asker sees; an operator sees all.
pub(super) async fn explained(
    hub: &Hub,
    tenant: &TenantId,
    rows: Vec<LogRow>,
    view: Option<&View>,
) -> Result<Vec<v1::HistoryRow>, HubError> {
    let Some(kind) = rows.first().map(|row| row.record.key.kind.clone()) else { return Ok(Vec::new()) };
    let rules = Rules::of(hub, tenant, &kind).await?;
    let mut conflicts = Conflicts { hub, tenant, view, read: BTreeMap::new() };
    let oldest = previous_of(hub, tenant, rows.last()).await?;
    let mut facts = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let before = rows.get(at + 1).or(oldest.as_ref()).filter(|before| before.revision == row.previous);
        let policy = rules.at(row.revision).filter(|_| row.mutation.is_some());
        facts.push((policy, unseen(row, before), conflicts.of(row).await?));
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
    read: BTreeMap<CommitNumber, Vec<LogRow>>,
}

impl Conflicts<'_> {
    /// Those of the row's record in the row's commit.
    async fn of(&mut self, row: &LogRow) -> Result<Vec<v1::RowConflict>, HubError> {
        if row.outcome != RowOutcome::Conflicted {
            return Ok(Vec::new());
        }
        if !self.read.contains_key(&row.commit) {
            let read = self.at_the_end_of(row).await?;
            self.read.insert(row.commit, read);
        }
        let found = self.read.get(&row.commit).into_iter().flatten();
        let found = found.filter(|found| self.view.is_none_or(|view| view.contains(&found.cell)));
        let told = found.filter_map(|found| {
            let conflict: Conflict = serde_json::from_slice(found.record.body()?).ok()?;
            (conflict.subject == row.record.key).then(|| v1::RowConflict {
                id: found.record.key.id.to_string(),
                path: conflict.path.clone(),
                r#type: conflict.type_name().to_owned(),
            })
        });
        Ok(told.collect())
    }

    async fn at_the_end_of(&self, row: &LogRow) -> Result<Vec<LogRow>, HubError> {
        let before = CommitNumber(row.commit.0.saturating_sub(1));
        let commit = self.hub.store().commits_after(self.tenant, before, 1).await?.pop();
        let Some(commit) = commit.filter(|commit| commit.number == row.commit) else { return Ok(Vec::new()) };
        let first = commit.last.0.saturating_sub(CONFLICTS_MAX).max(row.revision.0);
        let revisions = (first..commit.last.0).map(|before| Revision(before).next());
        let rows = self.hub.of_rows(self.tenant, revisions, |row| row).await?;
        Ok(rows.into_iter().filter(|row| kind::is_conflict(&row.record.key.kind)).collect())
    }
}
