//! Three-way merge of JSON: what two sides made of their common ancestor, put together.
//!
//! - `equal_sides_are_taken`: merge(b, x, x) = x, without a clash.
//! - `an_unchanged_side_gives_way`: merge(b, b, x) = x = merge(b, x, b), without a clash.
//! - `sides_may_be_swapped`: the merged value and the clashing paths do not depend on which side is called which; only
//!   the preferred side, which the caller names by what it is (the later write), decides what stands at a clash.
//! - `objects_merge_by_name`: members that only one side changed are that side's; of members that both changed the
//!   values are merged in turn.
//! - `arrays_merge_by_runs`: runs of elements that only one side changed are that side's; where the two changed
//!   touching runs in different ways the whole array clashes, because half of two orders is nobody's.
//! - `everything_else_is_atomic`: scalars, values of different types, a removed member beside an edited one.
//! - `past_its_bounds_an_array_is_atomic`: see [`CELLS_MAX`].
//!
//! A path is a JSON pointer (RFC 6901). Without an ancestor every member that both have clashes where it differs;
//! what one has was added.

mod runs;

use serde_json::{Map, Value};

/// Most pairs of elements that are compared to find how an array was changed; past it the array is atomic.
pub const CELLS_MAX: usize = 1_000_000;
/// Most clashing paths that are named; past it the whole document is one clash.
pub const PATHS_MAX: usize = 64;

/// Whose value stands where two clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// The first side's.
    First,
    /// The second side's.
    Second,
}

/// Merges two objects made of one ancestor: the merged object, and where the sides clash, in the order of names, at
/// most [`PATHS_MAX`].
#[must_use]
pub fn objects(
    base: Option<&Map<String, Value>>,
    first: &Map<String, Value>,
    second: &Map<String, Value>,
    prefer: Prefer,
) -> (Map<String, Value>, Vec<String>) {
    let mut merge = Merge { prefer, clashes: Vec::new() };
    let merged = merge.members("", base, first, second);
    if merge.clashes.len() <= PATHS_MAX {
        return (merged, merge.clashes);
    }
    // Too many to name: what disagrees is the document.
    let stands = if prefer == Prefer::First { first } else { second };
    (stands.clone(), vec![String::new()])
}

struct Merge {
    prefer: Prefer,
    clashes: Vec<String>,
}

impl Merge {
    fn members(
        &mut self,
        path: &str,
        base: Option<&Map<String, Value>>,
        first: &Map<String, Value>,
        second: &Map<String, Value>,
    ) -> Map<String, Value> {
        let names: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
        let mut merged = Map::new();
        for name in names {
            let base = base.and_then(|base| base.get(name));
            let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            if let Some(value) = self.value(&path, base, first.get(name), second.get(name)) {
                merged.insert(name.clone(), value);
            }
        }
        merged
    }

    fn value(
        &mut self,
        path: &str,
        base: Option<&Value>,
        first: Option<&Value>,
        second: Option<&Value>,
    ) -> Option<Value> {
        if first == second || second == base {
            return first.cloned();
        }
        if first == base {
            return second.cloned();
        }
        match (base, first, second) {
            (base, Some(Value::Object(first)), Some(Value::Object(second))) => {
                let base = base.and_then(Value::as_object);
                Some(Value::Object(self.members(path, base, first, second)))
            }
            (Some(Value::Array(base)), Some(Value::Array(first)), Some(Value::Array(second))) => {
                match runs::merge(base, first, second) {
                    Some(merged) => Some(Value::Array(merged)),
                    None => self.clash(
                        path,
                        Some(Value::Array(first.clone())),
                        Some(Value::Array(second.clone())),
                    ),
                }
            }
            _ => self.clash(path, first.cloned(), second.cloned()),
        }
    }

    fn clash(&mut self, path: &str, first: Option<Value>, second: Option<Value>) -> Option<Value> {
        self.clashes.push(path.to_owned());
        match self.prefer {
            Prefer::First => first,
            Prefer::Second => second,
        }
    }
}

#[cfg(test)]
mod tests;
