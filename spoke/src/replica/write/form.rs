//! Which operation a write is, given the record as it is shown here: checked against the kind, with its defaults, and in the
//! form in which it travels.

use semantics::canonical::{object_to_canonical, parse_object};
use semantics::envelope::{BODY_BYTES_MAX, KEY_ID_CLEAR, Op, Placement, Record};
use semantics::form;
use semantics::kind::Policy;
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value};

use super::WriteOp;
use crate::replica::kinds::KindRules;

/// The operation; `None` where the record already is as asked, and what is shown `is_sure`.
pub(super) fn operation(
    current: Option<&Record>,
    op: WriteOp,
    placement: Option<&Placement>,
    rules: &KindRules,
    is_sure: bool,
) -> Result<Option<Op>, Refusal> {
    let live = current.filter(|record| !record.is_deleted());
    let is_placed = live.is_some_and(|record| placement.is_none_or(|to| *to == record.placement));
    let is_done = is_placed && is_sure;
    match op {
        WriteOp::Delete if live.is_none() => Err(absent()),
        WriteOp::Delete => Ok(Some(Op::Delete)),
        WriteOp::Put(mut body) => {
            for (name, value) in &rules.declaration.defaults {
                body.entry(name.clone()).or_insert_with(|| value.clone());
            }
            put(live, canonical(&body)?, is_done, rules)
        }
        WriteOp::Patch { set, remove } => {
            let set = canonical(&set)?;
            let record = live.ok_or_else(absent)?;
            let held = fields_of(record)?.ok_or_else(|| sealed(record))?;
            let body = form::after_patch(&held, &set, &remove, rules.rule.policy)?;
            if rules.rule.policy != Policy::Fields {
                return put(live, body, is_done, rules);
            }
            if body == held && is_done {
                return Ok(None);
            }
            check(&body, rules)?;
            form::of_patch(&held, &set, &remove, rules.rule.policy).map(Some)
        }
    }
}

fn put(
    live: Option<&Record>,
    body: Map<String, Value>,
    is_done: bool,
    rules: &KindRules,
) -> Result<Option<Op>, Refusal> {
    check(&body, rules)?;
    let held = live.map(fields_of).transpose()?.flatten();
    if held.as_ref() == Some(&body) && is_done {
        return Ok(None);
    }
    form::of_put(held.as_ref(), &body, rules.rule.policy).map(Some)
}

/// The object as its canonical form reads: `1.0` and `1` are one number.
fn canonical(object: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    parse_object(&object_to_canonical(object)?)
}

fn check(body: &Map<String, Value>, rules: &KindRules) -> Result<(), Refusal> {
    let bytes = object_to_canonical(body)?.len();
    if bytes > BODY_BYTES_MAX {
        let detail = format!("a body of {bytes} bytes, at most {BODY_BYTES_MAX} are allowed");
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    rules.schema.check_object(body.clone()).map(drop)
}

/// The fields of a live record; `None` when its body is sealed.
fn fields_of(record: &Record) -> Result<Option<Map<String, Value>>, Refusal> {
    match record.body() {
        Some(body) if record.key_id == KEY_ID_CLEAR => parse_object(body).map(Some),
        _ => Ok(None),
    }
}

fn absent() -> Refusal {
    Refusal::new(Reason::RecordAbsent, "there is no such record here")
}

fn sealed(record: &Record) -> Refusal {
    Refusal::new(Reason::PatchUnsupported, format!("{} is sealed", record.key))
}
