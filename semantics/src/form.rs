//! The form in which a write travels, given what it is made on: of a `fields` kind a put is a patch of what it changes, of
//! any other kind a patch is the whole body that it leaves.
//!
//! - `a_put_of_fields_travels_as_a_patch_of_what_it_changes`; where nothing is changed, or there was nothing, as it is.
//! - `a_patch_travels_as_the_body_that_it_leaves_unless_fields_are_merged`.
//! - `what_a_patch_sets_to_the_value_it_has_is_set_all_the_same`: under a concurrent change it is a statement.
//! - `an_append_only_record_takes_no_patch`.

use serde_json::{Map, Value};

use crate::canonical::object_to_canonical;
use crate::envelope::Op;
use crate::kind::Policy;
use crate::reason::{Reason, Refusal};

/// A put of `body`, made on these fields; none = there was no live record, or nobody here can look into it.
///
/// # Errors
/// `UNSAFE_NUMBER` and the like, where the body has no canonical form.
pub fn of_put(
    held: Option<&Map<String, Value>>,
    body: &Map<String, Value>,
    policy: Policy,
) -> Result<Op, Refusal> {
    let Some(held) = held.filter(|_| policy == Policy::Fields) else { return whole(body) };
    let set = body.iter().filter(|(name, value)| held.get(*name) != Some(*value));
    let set = set.map(|(name, value)| (name.clone(), value.clone())).collect();
    let remove = held.keys().filter(|name| !body.contains_key(*name)).cloned().collect();
    of_difference(&set, remove, body)
}

/// A patch, made on these fields.
///
/// # Errors
/// Those of [`after_patch`] and [`of_put`].
pub fn of_patch(
    held: &Map<String, Value>,
    set: &Map<String, Value>,
    remove: &[String],
    policy: Policy,
) -> Result<Op, Refusal> {
    let body = after_patch(held, set, remove, policy)?;
    if policy != Policy::Fields {
        return whole(&body);
    }
    let remove = remove.iter().filter(|name| held.contains_key(*name)).cloned().collect();
    of_difference(set, remove, &body)
}

/// The body that a patch leaves.
///
/// # Errors
/// `APPEND_ONLY` for a record that is written once; `MALFORMED` for a field that is both set and removed.
pub fn after_patch(
    held: &Map<String, Value>,
    set: &Map<String, Value>,
    remove: &[String],
    policy: Policy,
) -> Result<Map<String, Value>, Refusal> {
    if policy == Policy::AppendOnly {
        return Err(Refusal::new(Reason::AppendOnly, "it was written once and stays as it is"));
    }
    if let Some(name) = remove.iter().find(|name| set.contains_key(*name)) {
        return Err(Refusal::new(Reason::Malformed, format!("{name} is both set and removed")));
    }
    let mut body = held.clone();
    body.retain(|name, _| !remove.contains(name));
    body.extend(set.clone());
    Ok(body)
}

fn of_difference(
    set: &Map<String, Value>,
    mut remove: Vec<String>,
    body: &Map<String, Value>,
) -> Result<Op, Refusal> {
    if set.is_empty() && remove.is_empty() {
        // Only the placement changes, or nothing that is shown: a patch of nothing is no patch.
        return whole(body);
    }
    remove.sort();
    remove.dedup();
    Ok(Op::Patch { set: object_to_canonical(set)?.into(), remove })
}

fn whole(body: &Map<String, Value>) -> Result<Op, Refusal> {
    Ok(Op::Put { body: object_to_canonical(body)?.into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("{value} is no object") };
        object
    }

    fn patch(set: &Value, remove: &[&str]) -> Op {
        let remove = remove.iter().map(|name| (*name).to_owned()).collect();
        Op::Patch { set: set.to_string().into(), remove }
    }

    fn put(body: &Value) -> Op {
        Op::Put { body: body.to_string().into() }
    }

    #[test]
    fn a_put_of_fields_travels_as_a_patch_of_what_it_changes() {
        let held = object(json!({"a": 1, "b": {"c": 1}, "d": 1}));
        let of = |body: Value, policy| of_put(Some(&held), &object(body), policy).unwrap();
        let body = json!({"a": 1, "b": {"c": 2}});
        assert_eq!(of(body.clone(), Policy::Fields), patch(&json!({"b": {"c": 2}}), &["d"]));
        assert_eq!(of(body.clone(), Policy::Branch), put(&body));
        let same = Value::Object(held.clone());
        assert_eq!(of(same.clone(), Policy::Fields), put(&same));
        assert_eq!(of_put(None, &object(body.clone()), Policy::Fields), Ok(put(&body)));
    }

    #[test]
    fn a_patch_travels_as_the_body_that_it_leaves_unless_fields_are_merged() {
        let held = object(json!({"a": 1, "b": 1}));
        let (set, remove) = (object(json!({"b": 2})), ["a".to_owned(), "z".to_owned()]);
        let of = |policy| of_patch(&held, &set, &remove, policy).unwrap();
        assert_eq!(of(Policy::Fields), patch(&json!({"b": 2}), &["a"]));
        assert_eq!(of(Policy::ThreeWay), put(&json!({"b": 2})));
        let both = of_patch(&held, &set, &["b".to_owned()], Policy::Fields);
        assert_eq!(both.unwrap_err().reason, Reason::Malformed);
    }

    #[test]
    fn what_a_patch_sets_to_the_value_it_has_is_set_all_the_same() {
        let held = object(json!({"a": 1}));
        assert_eq!(of_patch(&held, &held, &[], Policy::Fields), Ok(patch(&json!({"a": 1}), &[])));
    }

    #[test]
    fn an_append_only_record_takes_no_patch() {
        let held = object(json!({"a": 1}));
        let refused = of_patch(&held, &held, &[], Policy::AppendOnly).unwrap_err();
        assert_eq!(refused.reason, Reason::AppendOnly);
    }
}
