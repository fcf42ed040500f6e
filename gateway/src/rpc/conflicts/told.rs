//! Conflicts as messages.

use std::collections::BTreeSet;

use prost::Message;
use proto::v1;
use semantics::conflict::{Conflict, Side};
use semantics::ids::{RecordId, Revision, TenantId, Writer};
use semantics::kind;
use semantics::kind::POLICIES;
use semantics::preview::Preview;
use semantics::reason::{Reason, Refusal};
use semantics::resolution::{Account, Choice, Chosen, Resolution, Wanted, policy_name, shown as at_path};
use semantics::view::View;

use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::settle::Disputed;
use crate::store::{Current, LogRow};

/// What policies would make of a conflict, all of them together, bytes.
const ANSWERS_BYTES_MAX: usize = 768 * 1024;

/// A conflict without any values.
pub(super) fn listed(id: &RecordId, revision: Revision, conflict: &Conflict) -> v1::ConflictView {
    let side = |side: &Side| v1::ConflictSide {
        stamp: Some((&side.stamp).into()),
        revision: side.revision.0,
        value: None,
    };
    let ancestor = Some(conflict.ancestor).filter(|ancestor| *ancestor != Revision::ZERO);
    v1::ConflictView {
        id: id.to_string(),
        revision: revision.0,
        subject: Some((&conflict.subject).into()),
        path: conflict.path.clone(),
        r#type: conflict.type_name().to_owned(),
        open: conflict.open,
        primary: Some(side(&conflict.primary)),
        losers: conflict.losers.iter().map(side).collect(),
        dropped: conflict.dropped,
        ancestor: ancestor.map(|ancestor| v1::ConflictState { revision: ancestor.0, value: None }),
        standing: None,
        policies: Vec::new(),
        resolution: conflict.resolution.as_ref().map(resolution),
        manual: conflict.manual_name().to_owned(),
    }
}

/// A conflict with the values of its sides, of their ancestor, of what stands, and of what policies would make of it.
pub(super) async fn shown(
    hub: &Hub,
    tenant: &TenantId,
    disputed: &Disputed,
) -> Result<v1::ConflictView, HubError> {
    let conflict = &disputed.conflict;
    let view = listed(&disputed.id, disputed.revision, conflict);
    let of = |choice: &Choice| Some(value(disputed.wanted(choice)));
    let side = |(shown, side): (v1::ConflictSide, &Side)| v1::ConflictSide {
        value: of(&Choice::Side(side.stamp.dot)),
        ..shown
    };
    let standing = |subject: &Current| v1::ConflictState {
        revision: subject.pointer.revision.0,
        value: Some(value(at_path(&subject.record, disputed.kind.rule.policy, &conflict.path))),
    };
    let (mut policies, mut bytes) = (Vec::new(), 0_usize);
    for policy in POLICIES {
        let Preview { would, waits, .. } = hub.foreseen(tenant, disputed, policy).await?;
        let answer = value(would);
        bytes = bytes.saturating_add(answer.encoded_len());
        let answer = if bytes > ANSWERS_BYTES_MAX { untold() } else { answer };
        policies.push(v1::PolicyAnswer { policy: policy.name().to_owned(), value: Some(answer), waits });
    }
    Ok(v1::ConflictView {
        primary: view.primary.map(|primary| side((primary, &conflict.primary))),
        losers: view.losers.into_iter().zip(&conflict.losers).map(side).collect(),
        ancestor: view.ancestor.map(|state| v1::ConflictState { value: of(&Choice::Ancestor), ..state }),
        standing: disputed.subject.as_ref().map(standing),
        policies,
        ..view
    })
}

/// An answer that finds no room beside the others.
fn untold() -> v1::ConflictValue {
    let detail =
        format!("the answers of all policies have more than {ANSWERS_BYTES_MAX} bytes: preview this one");
    value(Err(Refusal::new(Reason::TooLarge, detail)))
}

pub(in crate::rpc) fn value(wanted: Result<Wanted, Refusal>) -> v1::ConflictValue {
    use v1::conflict_value::Value;
    let unknown =
        |reason: &str, detail: String| Value::Unknown(v1::UnknownValue { reason: reason.to_owned(), detail });
    let value = match wanted {
        Ok(Wanted::Value(json)) => Value::Json(json.to_string().into_bytes()),
        Ok(Wanted::Nothing) => Value::Nothing(v1::NoValue {}),
        Ok(Wanted::Sealed { key_id, .. }) => Value::Sealed(v1::SealedValue { key_id }),
        Ok(Wanted::Standing) => unknown("", "what stands".to_owned()),
        Err(refusal) => unknown(refusal.reason.as_str(), refusal.detail),
    };
    v1::ConflictValue { value: Some(value) }
}

pub(in crate::rpc) fn account(account: &Account) -> v1::ConflictAccount {
    v1::ConflictAccount {
        by: account.by.as_bytes().to_vec(),
        name: account.name.clone(),
        reason: account.reason.clone(),
        time_ms: account.time_ms,
        revision: account.revision.0,
    }
}

fn resolution(resolution: &Resolution) -> v1::ConflictResolution {
    let side = if let Chosen::Side(dot) = &resolution.choice { Some(dot.into()) } else { None };
    let policy =
        if let Chosen::Policy(policy) = resolution.choice { policy_name(policy) } else { String::new() };
    v1::ConflictResolution {
        account: Some(account(&resolution.account)),
        choice: resolution.choice.name().to_owned(),
        side,
        policy,
        before: resolution.before.0,
        rule_version: resolution.rule_version.0,
        undone: resolution.undone.as_ref().map(account),
    }
}

/// Rows of a record's history, with what the rows that settled conflicts say of why they are there: that stands in the
/// conflict's row, which follows right behind. `view` is what the asker sees; an operator sees all.
pub(in crate::rpc) async fn settlements(
    hub: &Hub,
    tenant: &TenantId,
    rows: Vec<LogRow>,
    view: Option<&View>,
) -> Result<Vec<v1::HistoryRow>, HubError> {
    let is_settling = |row: &&LogRow| row.mutation.is_some() && row.dot.writer == Writer::HUB;
    let behind: BTreeSet<Revision> = rows.iter().filter(is_settling).map(|row| row.revision.next()).collect();
    let behind = if behind.is_empty() { Vec::new() } else { hub.store().rows(tenant, &behind).await? };
    let told = |row: &LogRow| {
        let is_behind = |other: &&LogRow| other.revision == row.revision.next() && other.commit == row.commit;
        let found =
            behind.iter().find(is_behind).filter(|found| kind::is_conflict(&found.record.key.kind))?;
        let conflict: Conflict = serde_json::from_slice(found.record.body()?).ok()?;
        let is_shown = view.is_none_or(|view| view.contains(&found.cell));
        settlement(&found.record.key.id, &conflict, row).filter(|_| is_shown)
    };
    Ok(rows
        .into_iter()
        .map(|row| v1::HistoryRow { settlement: told(&row), ..crate::rpc::view::history(row) })
        .collect())
}

/// How a conflict was settled last, or that this was taken back; none where nobody ever has.
pub(in crate::rpc) fn last_settlement(id: &RecordId, conflict: &Conflict) -> Option<v1::Settlement> {
    let resolution = conflict.resolution.as_ref()?;
    let (by, undo) = resolution.undone.as_ref().map_or((&resolution.account, false), |undone| (undone, true));
    let choice = resolution.choice.name().to_owned();
    Some(v1::Settlement { conflict: id.to_string(), account: Some(account(by)), undo, choice })
}

fn settlement(id: &RecordId, conflict: &Conflict, row: &LogRow) -> Option<v1::Settlement> {
    let resolution = conflict.resolution.as_ref().filter(|_| conflict.subject == row.record.key)?;
    let (by, undo) = resolution.account_of(row.revision)?;
    let choice = resolution.choice.name().to_owned();
    Some(v1::Settlement { conflict: id.to_string(), account: Some(account(by)), undo, choice })
}
