//! Conflicts as both command lines print them, and what they take to settle one.

pub mod history;

use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value, json};

use crate::v1;
use crate::v1::conflict_choice::Choice;

/// A conflict as an entry of a list.
#[must_use]
pub fn listed(conflict: &v1::ConflictView) -> Value {
    let key = conflict.subject.clone().unwrap_or_default();
    json!({
        "id": conflict.id,
        "kind": key.kind,
        "record": key.id,
        "path": conflict.path,
        "type": conflict.r#type,
        "override": said(conflict),
        "sides": conflict.losers.len() + 1,
        "open": conflict.open,
        "revision": conflict.revision,
        "resolution": conflict.resolution.as_ref().map(resolution),
    })
}

/// A conflict with its sides, their ancestor, what stands, what policies make of it, and how it was settled.
#[must_use]
pub fn shown(conflict: &v1::ConflictView) -> Value {
    let key = conflict.subject.clone().unwrap_or_default();
    let path = conflict.path.as_str();
    let state = |state: &v1::ConflictState| {
        with(json!({"revision": state.revision}), value(path, state.value.as_ref()))
    };
    let answer = |answer: &v1::PolicyAnswer| {
        with(json!({"policy": answer.policy, "waits": answer.waits}), value(path, answer.value.as_ref()))
    };
    json!({
        "id": conflict.id,
        "kind": key.kind,
        "record": key.id,
        "path": path,
        "type": conflict.r#type,
        "override": said(conflict),
        "open": conflict.open,
        "revision": conflict.revision,
        "primary": conflict.primary.as_ref().map(|primary| side(path, primary)),
        "losers": conflict.losers.iter().map(|loser| side(path, loser)).collect::<Vec<_>>(),
        "dropped": conflict.dropped,
        "ancestor": conflict.ancestor.as_ref().map(state),
        "standing": conflict.standing.as_ref().map(state),
        "policies": conflict.policies.iter().map(answer).collect::<Vec<_>>(),
        "resolution": conflict.resolution.as_ref().map(resolution),
    })
}

/// How far a person has a say, where that is known.
fn said(conflict: &v1::ConflictView) -> Option<&str> {
    Some(conflict.manual.as_str()).filter(|manual| !manual.is_empty())
}

fn side(path: &str, side: &v1::ConflictSide) -> Value {
    let stamp = side.stamp.clone().unwrap_or_default();
    let dot = stamp.dot.clone().unwrap_or_default();
    let writer = dot.writer.clone().unwrap_or_default();
    let about = json!({
        "revision": side.revision,
        "dot": dot_text(&dot),
        "node": hex(&writer.node),
        "epoch": writer.epoch,
        "n": dot.n,
        "time_ms": stamp.time.map(|time| time.ms),
    });
    with(about, value(path, side.value.as_ref()))
}

/// A value, or why there is none to show.
#[must_use]
pub fn value(path: &str, value: Option<&v1::ConflictValue>) -> Value {
    use v1::conflict_value::Value as Wire;
    match value.and_then(|value| value.value.as_ref()) {
        Some(Wire::Json(json)) => json!({"value": serde_json::from_slice::<Value>(json).unwrap_or_default()}),
        Some(Wire::Nothing(_)) if path.is_empty() => json!({"value": {"deleted": true}}),
        Some(Wire::Nothing(_)) => json!({"value": null}),
        Some(Wire::Sealed(sealed)) => json!({"value": null, "sealed_under": sealed.key_id}),
        Some(Wire::Unknown(unknown)) => {
            json!({"value": null, "unknown": unknown.reason, "detail": unknown.detail})
        }
        None => json!({}),
    }
}

fn resolution(resolution: &v1::ConflictResolution) -> Value {
    json!({
        "by": resolution.account.as_ref().map(account),
        "choice": resolution.choice,
        "side": resolution.side.as_ref().map(dot_text),
        "policy": Some(&resolution.policy).filter(|policy| !policy.is_empty()),
        "before": resolution.before,
        "rule_version": resolution.rule_version,
        "undone": resolution.undone.as_ref().map(account),
    })
}

fn account(account: &v1::ConflictAccount) -> Value {
    json!({
        "author": hex(&account.by),
        "name": account.name,
        "reason": account.reason,
        "time_ms": account.time_ms,
        "revision": account.revision,
    })
}

/// Why a row of a history is there.
#[must_use]
pub fn settlement(settlement: &v1::Settlement) -> Value {
    let by = settlement.account.clone().unwrap_or_default();
    json!({
        "conflict": settlement.conflict,
        "what": if settlement.undo { "undo" } else { "resolution" },
        "choice": settlement.choice,
        "by": by.name,
        "reason": by.reason,
    })
}

fn dot_text(dot: &v1::Dot) -> String {
    let writer = dot.writer.clone().unwrap_or_default();
    format!("{}.{}:{}", hex(&writer.node), writer.epoch, dot.n)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with(object: Value, more: Value) -> Value {
    let (Value::Object(mut all), Value::Object(more)) = (object, more) else {
        return Value::Object(Map::new());
    };
    all.extend(more);
    Value::Object(all)
}

/// What a command line chooses: at most one of them.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `primary`, `loser`, the number of a losing side from 1, or a dot as it is shown.
    pub side: Option<String>,
    /// JSON; `null` = nothing.
    pub value: Option<String>,
    /// A policy's name.
    pub policy: Option<String>,
    /// What the sides were made on.
    pub ancestor: bool,
    /// What stands.
    pub keep: bool,
}

impl Given {
    /// The choice for one conflict.
    ///
    /// # Errors
    /// `MALFORMED` when nothing is chosen, or for a side that the conflict has not.
    pub fn choice(&self, conflict: &v1::ConflictView) -> Result<v1::ConflictChoice, Refusal> {
        let choice = match self {
            Self { keep: true, .. } => Choice::Keep(v1::KeepStanding {}),
            Self { ancestor: true, .. } => Choice::Ancestor(v1::TakeAncestor {}),
            Self { side: Some(side), .. } => Choice::Side(chosen(conflict, side)?),
            Self { policy: Some(policy), .. } => Choice::Policy(policy.clone()),
            Self { value: Some(value), .. } if value.trim() == "null" => Choice::Nothing(v1::NoValue {}),
            Self { value: Some(value), .. } => Choice::Value(value.clone().into_bytes()),
            _ => {
                let detail = "say what is to stand: --keep, --side, --ancestor, --value or --policy";
                return Err(Refusal::new(Reason::Malformed, detail));
            }
        };
        Ok(v1::ConflictChoice { choice: Some(choice) })
    }

    /// Whether it means the same for every conflict.
    #[must_use]
    pub fn is_for_many(&self) -> bool {
        self.keep || self.ancestor || self.policy.is_some()
    }
}

fn chosen(conflict: &v1::ConflictView, text: &str) -> Result<v1::Dot, Refusal> {
    let dot = |side: &v1::ConflictSide| side.stamp.clone().and_then(|stamp| stamp.dot);
    let found = match text {
        "primary" => conflict.primary.as_ref().and_then(dot),
        "loser" if conflict.losers.len() == 1 => conflict.losers.first().and_then(dot),
        "loser" => None,
        number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let at = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            at.and_then(|at| conflict.losers.get(at)).and_then(dot)
        }
        _ => {
            let mut sides = conflict.losers.iter().chain(&conflict.primary).filter_map(dot);
            sides.find(|dot| dot_text(dot) == text)
        }
    };
    found.ok_or_else(|| {
        let count = conflict.losers.len();
        let detail =
            format!("--side {text}: the conflict has primary, {count} losers (1 to {count}), and their dots");
        Refusal::new(Reason::Malformed, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(n: u64) -> v1::ConflictSide {
        let dot = v1::Dot { writer: Some(v1::Writer { node: vec![1; 16], epoch: 2 }), n };
        let stamp = Some(v1::Stamp { time: None, dot: Some(dot) });
        v1::ConflictSide { stamp, revision: n, value: None }
    }

    fn conflict(losers: &[u64]) -> v1::ConflictView {
        let losers = losers.iter().map(|n| side(*n)).collect();
        v1::ConflictView { primary: Some(side(9)), losers, ..Default::default() }
    }

    #[test]
    fn a_side_is_chosen_by_place_or_by_dot() {
        let n = |losers: &[u64], text: &str| chosen(&conflict(losers), text).ok().map(|dot| dot.n);
        assert_eq!(n(&[4], "primary"), Some(9));
        assert_eq!(n(&[4], "loser"), Some(4));
        assert_eq!(n(&[4, 5], "loser"), None, "which of them is not said");
        assert_eq!(n(&[4, 5], "2"), Some(5));
        assert_eq!(n(&[4, 5], &format!("{}.2:5", "01".repeat(16))), Some(5));
        for wrong in ["0", "3", "", "winner", "01.2:5"] {
            assert_eq!(n(&[4, 5], wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_choice_is_one_of_what_is_given() {
        let choose = |given: Given| given.choice(&conflict(&[4])).ok().and_then(|choice| choice.choice);
        assert_eq!(choose(Given::default()), None);
        assert_eq!(choose(Given { keep: true, ..Given::default() }), Some(Choice::Keep(v1::KeepStanding {})));
        let value = |text: &str| choose(Given { value: Some(text.to_owned()), ..Given::default() });
        assert_eq!(value("null"), Some(Choice::Nothing(v1::NoValue {})));
        assert_eq!(value("\"null\""), Some(Choice::Value(b"\"null\"".to_vec())));
        assert!(!Given { value: Some("1".to_owned()), ..Given::default() }.is_for_many());
        assert!(Given { policy: Some("last_writer".to_owned()), ..Given::default() }.is_for_many());
    }

    #[test]
    fn a_value_that_cannot_be_told_says_why() {
        use v1::conflict_value::Value as Wire;
        let told = |path: &str, wire: Wire| value(path, Some(&v1::ConflictValue { value: Some(wire) }));
        assert_eq!(told("t", Wire::Json(b"1".to_vec())), json!({"value": 1}));
        assert_eq!(told("t", Wire::Nothing(v1::NoValue {})), json!({"value": null}));
        assert_eq!(told("", Wire::Nothing(v1::NoValue {})), json!({"value": {"deleted": true}}));
        let (reason, detail) = ("RECORD_GONE".to_owned(), "the ancestor is not kept any more".to_owned());
        let shown = json!({"value": null, "unknown": reason, "detail": detail});
        assert_eq!(told("t", Wire::Unknown(v1::UnknownValue { reason, detail })), shown);
    }
}
