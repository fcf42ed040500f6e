//! Where a conflict's path points: a top-level field on kinds that merge fields, a JSON pointer (RFC 6901) on others.

use serde_json::{Map, Value};

use crate::canonical::object_to_canonical;
use crate::envelope::Op;
use crate::kind::Policy;
use crate::reason::{Reason, Refusal};

/// The value at a path.
pub(super) fn get<'a>(body: &'a Map<String, Value>, policy: Policy, path: &str) -> Option<&'a Value> {
    if policy == Policy::Fields || !path.starts_with('/') {
        return body.get(path);
    }
    let (parent, name) = split(path)?;
    parent.iter().try_fold(body, |at, name| at.get(name)?.as_object())?.get(&name)
}

/// The change that sets a path of a live body, or with no value removes it.
pub(super) fn op(
    mut body: Map<String, Value>,
    policy: Policy,
    path: &str,
    value: Option<Value>,
) -> Result<Op, Refusal> {
    if policy == Policy::Fields {
        let remove = if value.is_none() { vec![path.to_owned()] } else { Vec::new() };
        let set = value.map(|value| (path.to_owned(), value)).into_iter().collect();
        return Ok(Op::Patch { set: object_to_canonical(&set)?.into(), remove });
    }
    let (parent, name) = split(path).unwrap_or_else(|| (Vec::new(), path.to_owned()));
    let mut at = &mut body;
    for step in &parent {
        at = at.get_mut(step).and_then(Value::as_object_mut).ok_or_else(|| {
            Refusal::new(Reason::Stale, format!("{path}: the object around it is no more: give a whole body"))
        })?;
    }
    match value {
        Some(value) => at.insert(name, value),
        None => at.remove(&name),
    };
    Ok(Op::Put { body: object_to_canonical(&body)?.into() })
}

/// The names before the last, and the last; `None` for what is no pointer.
fn split(path: &str) -> Option<(Vec<String>, String)> {
    let mut names: Vec<String> = path.strip_prefix('/')?.split('/').map(unescaped).collect();
    let last = names.pop()?;
    Some((names, last))
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
