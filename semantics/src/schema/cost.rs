//! What checking a body by a schema may cost. References let a short schema ask for more looks at a value than there
//! are atoms, and for more calls inside one another than a stack holds. Both are found here, before anything is
//! checked with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::patterns::patterns;
use crate::canonical::DEPTH_MAX;
use crate::reason::{Reason, Refusal};

/// Most looks at one value of a body.
pub const LOOKS_MAX: u64 = 1_024;
/// Most steps from the schema to one part of it, for a body as deep as bodies may be: references, combinations and
/// steps into the body.
pub const STEPS_MAX: usize = 320;

/// Keywords whose schema is about the value itself.
const SAME: [&str; 4] = ["not", "if", "then", "else"];
/// The same, as lists of schemas.
const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords that look once more at what the others found out about the value.
const ONCE_MORE: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// Keywords whose schema is about what is inside of the value, each part of it.
const INSIDE: [&str; 6] = [
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "items",
    "unevaluatedItems",
    "contains",
];
/// Keywords by which a reference would mean something else than a place in this schema.
const ELSEWHERE: [&str; 5] = ["$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"];

/// Looks that one run of a regular expression over a text counts for: it is linear in the text, but in the expression
/// too.
const PATTERN_LOOKS: u64 = 64;

/// Refuses a schema that may look at one value of a body more than [`LOOKS_MAX`] times, or that may need more than
/// [`STEPS_MAX`] steps inside one another. Gives how often it may look at one value, regular expressions counted for
/// what they cost.
///
/// # Errors
/// `TOO_LARGE` past a bound. `MALFORMED` for a reference that leads back to itself without going into the body, and
/// for one that is not `#` and a JSON pointer, such as to a name.
pub(super) fn check(schema: &Value) -> Result<u64, Refusal> {
    let members = schema.as_object().into_iter().flatten();
    for (_, part) in members.filter(|(name, _)| name.as_str() != "$id") {
        refuse_names(part)?;
    }
    let mut costs = Costs { root: schema, known: BTreeMap::new() };
    let mut looks = 1;
    for depth in 0..=DEPTH_MAX {
        looks = costs.of(schema, depth, 0)?.looks.max(looks);
    }
    Ok(if patterns(schema) > 0 { looks.saturating_mul(PATTERN_LOOKS) } else { looks })
}

fn refuse_names(part: &Value) -> Result<(), Refusal> {
    match part {
        Value::Object(members) => {
            let named = |name: &&&str| members.get(**name).is_some_and(Value::is_string);
            if let Some(name) = ELSEWHERE.iter().find(named) {
                return Err(malformed(&format!("{name} is not supported: refer by # and a JSON pointer")));
            }
            members.values().try_for_each(refuse_names)
        }
        Value::Array(items) => items.iter().try_for_each(refuse_names),
        _ => Ok(()),
    }
}

/// Of a part of the schema that is applied to a value.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Looks at one value so many levels below that one, at most.
    looks: u64,
    /// Steps inside one another on the way there.
    steps: usize,
}

impl Cost {
    fn and(self, other: Self) -> Self {
        Self { looks: self.looks.saturating_add(other.looks), steps: self.steps.max(other.steps) }
    }

    fn or(self, other: Self) -> Self {
        Self { looks: self.looks.max(other.looks), steps: self.steps.max(other.steps) }
    }
}

struct Costs<'a> {
    root: &'a Value,
    /// By part and levels; `None` while it is looked for.
    known: BTreeMap<(*const Value, usize), Option<Cost>>,
}

impl<'a> Costs<'a> {
    fn of(&mut self, part: &'a Value, levels: usize, behind: usize) -> Result<Cost, Refusal> {
        let here = (std::ptr::from_ref(part), levels);
        match self.known.get(&here) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => {
                return Err(malformed("a reference leads back to itself without going into the body"));
            }
            None => {}
        }
        if behind > STEPS_MAX {
            return Err(too_many_steps());
        }
        self.known.insert(here, None);
        let mut cost = match part {
            Value::Object(members) => self.of_members(members, levels, behind + 1)?,
            _ => Cost::default(),
        };
        cost.looks = cost.looks.saturating_add(u64::from(levels == 0));
        cost.steps += 1;
        if cost.looks > LOOKS_MAX {
            let detail = format!("schema: it may look at one value more than {LOOKS_MAX} times");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        if cost.steps > STEPS_MAX {
            return Err(too_many_steps());
        }
        self.known.insert(here, Some(cost));
        Ok(cost)
    }

    fn of_members(
        &mut self,
        part: &'a Map<String, Value>,
        levels: usize,
        behind: usize,
    ) -> Result<Cost, Refusal> {
        let mut cost = Cost::default();
        let mut same: Vec<&Value> = SAME.iter().filter_map(|name| part.get(*name)).collect();
        same.extend(SAME_LISTS.iter().filter_map(|name| part.get(*name)?.as_array()).flatten());
        same.extend(members(part, "dependentSchemas"));
        same.extend(part.get("$ref").map(|reference| self.target(reference)).transpose()?);
        for same in same {
            cost = cost.and(self.of(same, levels, behind)?);
        }
        for _ in ONCE_MORE.iter().filter(|name| part.contains_key(**name)) {
            cost.looks = cost.looks.saturating_mul(2);
        }
        let Some(below) = levels.checked_sub(1) else { return Ok(cost) };
        let inside = INSIDE.iter().filter_map(|name| part.get(*name));
        for inside in inside.chain(members(part, "patternProperties")) {
            cost = cost.and(self.of(inside, below, behind)?);
        }
        // A member has one name, and an item one place.
        let places = part.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        let mut one = Cost::default();
        for place in members(part, "properties").chain(places) {
            one = one.or(self.of(place, below, behind)?);
        }
        Ok(cost.and(one))
    }

    fn target(&self, reference: &Value) -> Result<&'a Value, Refusal> {
        let pointer = reference.as_str().and_then(|reference| reference.strip_prefix('#'));
        let found =
            pointer.filter(|pointer| !pointer.contains('%')).and_then(|pointer| self.root.pointer(pointer));
        found.ok_or_else(|| malformed("$ref is # and a JSON pointer to a part of this schema"))
    }
}

fn members<'a>(part: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    part.get(name).and_then(Value::as_object).into_iter().flat_map(Map::values)
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(Reason::Malformed, format!("schema: {what}"))
}

fn too_many_steps() -> Refusal {
    let detail = format!("schema: it may need more than {STEPS_MAX} steps inside one another");
    Refusal::new(Reason::TooLarge, detail)
}

#[cfg(test)]
mod tests;
