//! Settling a conflict and taking that back. A resolution is a change that the hub itself writes on the record as it
//! stands, decided by the record's own rule; it closes the conflict in the same commit. Its undo is one more change,
//! which brings the state before back, and opens the conflict again. Nothing is taken out of the log by either.

mod place;
pub mod proposal;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical::object_to_canonical;
use crate::clock::HybridTime;
use crate::conflict::{Conflict, Side};
use crate::envelope::{Base, Content, KEY_ID_CLEAR, Mutation, Op, Record};
use crate::form;
use crate::ids::{Dot, MutationId, NodeId, Revision, Salt, Writer};
use crate::kind::{Policy, Rule};
use crate::merge::{self, Prefer};
use crate::reason::{Reason, Refusal};

/// Longest reason given with a resolution or an undo, bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// What is to stand at a conflict's path.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// What stands, whatever it is.
    Keep,
    /// What this mutation wrote.
    Side(Dot),
    /// What the sides were made on.
    Ancestor,
    /// This value; none = the field is removed, or with an empty path the record deleted.
    Value(Option<Value>),
    /// What this policy makes of the sides.
    Policy(Policy),
}

/// A choice as the conflict remembers it. A value is not repeated: it stands in the record's own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// What stood.
    Keep,
    /// What this mutation had written.
    Side(Dot),
    /// What the sides were made on.
    Ancestor,
    /// A value of its own.
    Value,
    /// What this policy made of the sides.
    Policy(Policy),
}

impl From<&Choice> for Chosen {
    fn from(choice: &Choice) -> Self {
        match choice {
            Choice::Keep => Self::Keep,
            Choice::Side(dot) => Self::Side(*dot),
            Choice::Ancestor => Self::Ancestor,
            Choice::Value(_) => Self::Value,
            Choice::Policy(policy) => Self::Policy(*policy),
        }
    }
}

impl Chosen {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Side(_) => "side",
            Self::Ancestor => "ancestor",
            Self::Value => "value",
            Self::Policy(_) => "policy",
        }
    }
}

/// Who settles, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Id of the node or operator, as logs name it.
    pub by: NodeId,
    /// What people call it: a node's name, or an operator as `TENANT/NAME`.
    pub name: String,
    /// In words; may be empty.
    pub reason: String,
    /// The hub's time of the commit, milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// The revision at which the record stands since.
    pub revision: Revision,
}

/// How a conflict was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Who, and why.
    pub account: Account,
    /// What was chosen.
    pub choice: Chosen,
    /// The revision at which the record stood before; the same as after when nothing had to be written.
    pub before: Revision,
    /// Revision of the rule that decided; zero = a built-in one.
    pub rule_version: Revision,
    /// The kind's policy then: it says what the conflict's path means. Absent = written before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Policy>,
    /// Who took it back, and why; absent = nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Account>,
}

impl Resolution {
    /// Whether it changed the record.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.account.revision != self.before
    }
    /// Whether the conflict's path means now what it meant when this was settled.
    #[must_use]
    pub fn is_read_by(&self, rule: &Rule) -> bool {
        self.rule_version == rule.version || self.under.is_some_and(|under| rule.policy.keeps_paths_of(under))
    }
    /// Who made the record stand as it does since a revision, and whether that was an undo.
    #[must_use]
    pub fn account_of(&self, revision: Revision) -> Option<(&Account, bool)> {
        let undone = self.undone.as_ref().filter(|undone| undone.revision == revision);
        let settled = Some(&self.account).filter(|account| account.revision == revision);
        undone.map(|account| (account, true)).or(settled.map(|account| (account, false)))
    }
}

/// What stands, or is to stand, at a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Whatever stands there.
    Standing,
    /// Nothing: no such field, or a tombstone.
    Nothing,
    /// A field's value, or with an empty path a whole body.
    Value(Value),
    /// A whole body that nobody here can look into.
    Sealed {
        /// Key it is sealed under.
        key_id: u64,
        /// The body.
        body: Vec<u8>,
    },
}

/// A row of the log, as far as sides are read from it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The mutation that came in with it.
    pub mutation: Option<&'a Mutation>,
    /// The record from there on.
    pub record: &'a Record,
}

/// What a record shows at a path.
///
/// # Errors
/// `STORE_CORRUPT` for a body that does not read.
pub fn shown(record: &Record, policy: Policy, path: &str) -> Result<Wanted, Refusal> {
    match &record.content {
        Content::Deleted => Ok(Wanted::Nothing),
        Content::Live(body) => in_body(record.key_id, body, policy, path),
    }
}

fn in_body(key_id: u64, body: &[u8], policy: Policy, path: &str) -> Result<Wanted, Refusal> {
    if key_id != KEY_ID_CLEAR {
        return Ok(Wanted::Sealed { key_id, body: body.to_vec() });
    }
    let body = object(body)?;
    if path.is_empty() {
        return Ok(Wanted::Value(Value::Object(body)));
    }
    Ok(place::get(&body, policy, path).map_or(Wanted::Nothing, |value| Wanted::Value(value.clone())))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body)
        .map_err(|e| Refusal::new(Reason::StoreCorrupt, format!("a kept body is no object: {e}")))
}

/// What a side stands for at the conflict's path: what its own mutation wrote, or where its row is not that
/// mutation's, what the record showed there. A patch against a whole record stands for the record it left, or where
/// that had been deleted already, for the ancestor with the patch on it.
///
/// # Errors
/// `RECORD_GONE` for a row that is not kept, or a patch whose ancestor is not known; `STORE_CORRUPT`.
pub fn side(
    conflict: &Conflict,
    side: &Side,
    rule: &Rule,
    row: Option<Row<'_>>,
    ancestor: Option<Row<'_>>,
) -> Result<Wanted, Refusal> {
    let path = conflict.path.as_str();
    let Some(Row { mutation, record }) = row else {
        let detail = format!("what {} wrote is not kept any more", side.stamp.dot);
        return Err(Refusal::new(Reason::RecordGone, detail));
    };
    let Some(mutation) = mutation.filter(|mutation| mutation.stamp() == side.stamp) else {
        return shown(record, rule.policy, path);
    };
    match &mutation.op {
        Op::Delete => Ok(Wanted::Nothing),
        Op::Put { body } => in_body(mutation.key_id, body, rule.policy, path),
        Op::Patch { set, .. } if !path.is_empty() => in_body(KEY_ID_CLEAR, set, rule.policy, path),
        Op::Patch { .. } if !record.is_deleted() => shown(record, rule.policy, path),
        Op::Patch { set, remove } => {
            let before = ancestor.and_then(|ancestor| ancestor.record.body());
            let before = before.ok_or_else(|| {
                let detail =
                    format!("{} is a patch on a record that is not known: give a value", side.stamp.dot);
                Refusal::new(Reason::RecordGone, detail)
            })?;
            let mut body = object(before)?;
            body.extend(object(set)?);
            body.retain(|name, _| !remove.contains(name));
            Ok(Wanted::Value(Value::Object(body)))
        }
    }
}

/// What a choice comes to. `row` gives rows of the log by revision.
///
/// # Errors
/// `NOT_FOUND` for a side that the conflict does not name or an ancestor that it has not; `MALFORMED` for a policy that
/// cannot be asked; `RECORD_GONE` where a row is not kept; `STORE_CORRUPT`.
pub fn wanted<'a>(
    conflict: &Conflict,
    choice: &Choice,
    rule: &Rule,
    row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
) -> Result<Wanted, Refusal> {
    let of_side = |chosen: &Side| side(conflict, chosen, rule, row(chosen.revision), row(conflict.ancestor));
    match choice {
        Choice::Keep => Ok(Wanted::Standing),
        Choice::Value(None) => Ok(Wanted::Nothing),
        Choice::Value(Some(value)) => Ok(Wanted::Value(value.clone())),
        Choice::Side(dot) => match conflict.sides().find(|side| side.stamp.dot == *dot) {
            Some(chosen) => of_side(chosen),
            None => Err(Refusal::new(Reason::NotFound, format!("{dot} is no side of this conflict"))),
        },
        Choice::Ancestor if conflict.ancestor == Revision::ZERO => {
            Err(Refusal::new(Reason::NotFound, "the sides have no ancestor that is known"))
        }
        Choice::Ancestor => match row(conflict.ancestor) {
            Some(Row { record, .. }) => shown(record, rule.policy, &conflict.path),
            None => Err(Refusal::new(Reason::RecordGone, "the ancestor is not kept any more")),
        },
        Choice::Policy(Policy::ThreeWay) => three_way(conflict, rule, row),
        Choice::Policy(policy) => of_side(by_policy(conflict, *policy)?),
    }
}

/// A policy's name.
#[must_use]
pub fn policy_name(policy: Policy) -> String {
    let name = serde_json::to_value(policy).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A policy by its name.
///
/// # Errors
/// `MALFORMED` for a name that is none.
pub fn policy_named(name: &str) -> Result<Policy, Refusal> {
    serde_json::from_value(Value::String(name.to_owned()))
        .map_err(|_| Refusal::new(Reason::Malformed, format!("policy: there is no {name}")))
}

/// What the sides made of their ancestor, one after the other in stamp order, the later one where they clash.
fn three_way<'a>(
    conflict: &Conflict,
    rule: &Rule,
    row: impl Fn(Revision) -> Option<Row<'a>> + Copy,
) -> Result<Wanted, Refusal> {
    let none = |detail: &str| Err(Refusal::new(Reason::Malformed, format!("policy: three_way {detail}")));
    if !conflict.path.is_empty() {
        return none("is asked about whole records: of a path the later side would stand");
    }
    let Wanted::Value(Value::Object(ancestor)) = wanted(conflict, &Choice::Ancestor, rule, row)? else {
        return none("needs an ancestor that can be read");
    };
    let mut sides: Vec<&Side> = conflict.sides().collect();
    sides.sort_by_key(|side| side.stamp);
    let mut merged: Option<Map<String, Value>> = None;
    for side in sides {
        let Wanted::Value(Value::Object(body)) = wanted(conflict, &Choice::Side(side.stamp.dot), rule, row)?
        else {
            return none("needs sides that can be read, and are no deletes");
        };
        merged = Some(match merged {
            Some(before) => merge::objects(Some(&ancestor), &before, &body, Prefer::Second).0,
            None => body,
        });
    }
    Ok(Wanted::Value(Value::Object(merged.unwrap_or_default())))
}

fn by_policy(conflict: &Conflict, policy: Policy) -> Result<&Side, Refusal> {
    let chosen = if policy == Policy::LastWriter {
        conflict.sides().max_by_key(|side| side.stamp)
    } else if policy == Policy::AppendOnly {
        conflict.sides().min_by_key(|side| side.stamp)
    } else {
        None
    };
    chosen.ok_or_else(|| {
        Refusal::new(
            Reason::Malformed,
            "policy: last_writer, append_only and three_way can be asked about two sides",
        )
    })
}

/// The change after which a record shows at a path what is wanted, and the key its body is sealed under; `None` when it
/// shows that already. A whole body on a fields kind is the patch that turns the one into the other.
///
/// # Errors
/// `RECORD_GONE` for a value inside a record that is deleted; `STALE` where the place that a path names is no more;
/// `MALFORMED` for a whole body that is no object; `UNSAFE_NUMBER`, `TOO_LARGE`; `STORE_CORRUPT`.
pub fn change(
    current: &Record,
    rule: &Rule,
    path: &str,
    wanted: &Wanted,
) -> Result<Option<(Op, u64)>, Refusal> {
    if *wanted == Wanted::Standing || *wanted == shown(current, rule.policy, path)? {
        return Ok(None);
    }
    let clear = |op: Op| Ok(Some((op, KEY_ID_CLEAR)));
    match (&current.content, wanted) {
        (_, Wanted::Sealed { key_id, body }) => Ok(Some((Op::Put { body: body.clone().into() }, *key_id))),
        (_, Wanted::Nothing) if path.is_empty() => clear(Op::Delete),
        (_, Wanted::Value(value)) if path.is_empty() => {
            let Value::Object(body) = value else {
                return Err(Refusal::new(Reason::Malformed, "value: a whole body is a JSON object"));
            };
            match current.body() {
                Some(now) if rule.policy == Policy::Fields => {
                    clear(form::of_put(Some(&object(now)?), body, rule.policy)?)
                }
                Some(_) | None => clear(Op::Put { body: object_to_canonical(body)?.into() }),
            }
        }
        (Content::Deleted, _) => {
            let detail = format!("{} is deleted: keep it so, or put it anew first", current.key);
            Err(Refusal::new(Reason::RecordGone, detail))
        }
        (Content::Live(now), _) => {
            let value = if let Wanted::Value(value) = wanted { Some(value.clone()) } else { None };
            clear(place::op(object(now)?, rule.policy, path, value)?)
        }
    }
}

/// What marks a change of the hub's own.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// The mutation's id.
    pub id: MutationId,
    /// Its salt.
    pub salt: Salt,
    /// Whom it is done for.
    pub author: NodeId,
    /// The hub's time, milliseconds.
    pub now_ms: u64,
}

/// A mutation of the hub's own on a record that stands at `at`, stamped after everything that shapes the record. Its
/// counter is the revision it takes.
#[must_use]
pub fn mutation(
    current: &Record,
    at: Revision,
    takes: Revision,
    (op, key_id): (Op, u64),
    marks: Marks,
) -> Mutation {
    let shaping = current.fields.values().map(|field| field.stamp);
    let stamps = shaping.chain([current.stamp, current.placement_stamp]);
    let latest = stamps.map(|stamp| stamp.time).max().unwrap_or(HybridTime::ZERO);
    let is_reborn = current.is_deleted() && matches!(op, Op::Put { .. });
    let incarnation = current.incarnation;
    Mutation {
        id: marks.id,
        dot: Dot { writer: Writer::HUB, n: takes.0 },
        group: None,
        key: current.key.clone(),
        op,
        placement: None,
        incarnation: if is_reborn { incarnation.next() } else { incarnation },
        base: Base { version: current.version.clone(), revision: at, own: None },
        time: latest.tick(marks.now_ms),
        written_ms: marks.now_ms,
        author: marks.author,
        key_id,
        salt: marks.salt,
        signature: None,
    }
}

/// Whether what the hub wrote as this revision still stands at the path.
#[must_use]
pub fn still_stands(current: &Record, rule: &Rule, path: &str, revision: Revision) -> bool {
    let dot = Dot { writer: Writer::HUB, n: revision.0 };
    let of_field = current.fields.get(path).filter(|_| rule.policy == Policy::Fields && !path.is_empty());
    match of_field {
        Some(field) => !current.is_deleted() && field.stamp.dot == dot,
        None => current.stamp.dot == dot,
    }
}

#[cfg(test)]
mod tests;
