//! The shape of a mutation as far as it needs the body: checked once, before anything waits for its turn.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::Parsed;
use crate::canonical::{is_plainly_canonical, parse_object};
use crate::envelope::{BODY_BYTES_MAX, FIELD_NAME_BYTES_MAX, FIELDS_MAX, KEY_ID_CLEAR, Mutation, Op};
use crate::reason::{Reason, Refusal};

/// Parses a mutation's body or patch, and checks what depends on the mutation alone.
///
/// # Errors
/// `TOO_LARGE`, `NOT_CANONICAL`, `UNSAFE_NUMBER` or `MALFORMED`; the detail names the part.
pub fn parse(mutation: Mutation) -> Result<Parsed, Refusal> {
    check_base(&mutation)?;
    let bytes = mutation.op.bytes();
    if bytes > BODY_BYTES_MAX {
        return Err(Refusal::new(Reason::TooLarge, format!("{bytes} bytes, at most {BODY_BYTES_MAX}")));
    }
    let fields = match &mutation.op {
        Op::Delete => Map::new(),
        // Sealed: nothing to look into.
        Op::Put { .. } if mutation.key_id != KEY_ID_CLEAR => Map::new(),
        // Many are never looked into.
        Op::Put { body } if is_plainly_canonical(body) => {
            return Ok(Parsed { mutation, fields: OnceLock::new() });
        }
        Op::Put { body } => parse_object(body)?,
        Op::Patch { .. } if mutation.key_id != KEY_ID_CLEAR => {
            return Err(malformed("a patch cannot be sealed"));
        }
        Op::Patch { set, remove } => {
            let fields = parse_object(set)?;
            check_removed(remove, &fields)?;
            fields
        }
    };
    fields.keys().try_for_each(|name| check_name(name))?;
    Ok(Parsed { mutation, fields: fields.into() })
}

/// A mutation cannot have seen itself, and its writer's previous mutation came before it.
fn check_base(mutation: &Mutation) -> Result<(), Refusal> {
    let dot = mutation.dot;
    if mutation.base.version.contains(dot) {
        return Err(malformed("the base holds the mutation's own dot"));
    }
    match mutation.base.own {
        Some(own) if own.writer != dot.writer || own.n >= dot.n => {
            Err(malformed("base.own is not an earlier mutation of the same writer"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_removed(remove: &[String], set: &Map<String, Value>) -> Result<(), Refusal> {
    if remove.len() > FIELDS_MAX {
        let detail = format!("{} removed fields, at most {FIELDS_MAX}", remove.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    if !remove.is_sorted_by(|a, b| a < b) {
        return Err(malformed("removed fields are not sorted, or name one twice"));
    }
    if let Some(both) = remove.iter().find(|name| set.contains_key(*name)) {
        return Err(malformed(format!("field {both:?} is both set and removed")));
    }
    remove.iter().try_for_each(|name| check_name(name))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() > FIELD_NAME_BYTES_MAX {
        let detail = format!("a field name of {} bytes, at most {FIELD_NAME_BYTES_MAX}", name.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(())
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Malformed, detail)
}
