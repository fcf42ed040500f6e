//! Branches: what an open conflict about a whole record keeps beside what stands, each under a name of its own.
//!
//! - `a_branch_is_named_by_its_writer_and_number`: the first eight digits of the node's id and the number of the write.
//! - `a_branch_is_found_by_the_beginning_of_its_name`, or by its dot; a beginning of two is refused.
//! - `what_differs_is_named_by_path`: members of objects by JSON pointer (RFC 6901); everything else is compared whole.
//! - `branches_merge_back_one_after_the_other`, each against the ancestor (see [`crate::merge`]).
//! - `a_clash_is_refused_unless_it_is_said_who_wins`, with every clashing path.

use serde_json::{Map, Value};

use crate::conflict::{Conflict, Side};
use crate::ids::Dot;
use crate::merge::{self, Prefer};
use crate::reason::{Reason, Refusal};

/// The branch that stands.
pub const MAIN: &str = "main";
/// What the branches were made on.
pub const ANCESTOR: &str = "ancestor";
/// Most differences that are named; past it the whole document is one.
pub const DIFFERENCES_MAX: usize = 1_000;
/// Digits of a node's id in a branch's name.
const NODE_DIGITS: usize = 8;

/// Name of the branch that a write made.
#[must_use]
pub fn name(dot: Dot) -> String {
    let node = dot.writer.node.to_string();
    format!("{}-{}", node.get(..NODE_DIGITS).unwrap_or(&node), dot.n)
}

/// The side of a conflict that a branch's name, the beginning of one, or a dot means.
///
/// # Errors
/// `NOT_FOUND`; `MALFORMED` for a beginning of several names.
pub fn side<'a>(conflict: &'a Conflict, asked: &str) -> Result<&'a Side, Refusal> {
    let named = |is_meant: &dyn Fn(Dot) -> bool| {
        let mut meant = conflict.sides().filter(|side| is_meant(side.stamp.dot));
        (meant.next(), meant.next().is_some())
    };
    let exactly = named(&|dot| dot.to_string() == asked || name(dot) == asked);
    let begins = || named(&|dot| !asked.is_empty() && name(dot).starts_with(asked));
    match if exactly.0.is_some() { exactly } else { begins() } {
        (Some(side), false) => Ok(side),
        (Some(_), true) => {
            Err(Refusal::new(Reason::Malformed, format!("branch: {asked} may be several; give the dot")))
        }
        (None, _) => Err(Refusal::new(
            Reason::NotFound,
            format!("branch: there is no {asked}; `branch list` names them"),
        )),
    }
}

/// One path at which two bodies differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer; empty = the whole body.
    pub path: String,
    /// What the first says there; absent = nothing.
    pub from: Option<Value>,
    /// What the second says there; absent = nothing.
    pub to: Option<Value>,
}

/// Where two bodies differ, in the order of names.
#[must_use]
pub fn differences(from: Option<&Value>, to: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", from, to, &mut found);
    if found.len() <= DIFFERENCES_MAX {
        return found;
    }
    vec![Difference { path: String::new(), from: from.cloned(), to: to.cloned() }]
}

fn compare(path: &str, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Difference>) {
    if from == to || found.len() > DIFFERENCES_MAX {
        return;
    }
    let (Some(Value::Object(first)), Some(Value::Object(second))) = (from, to) else {
        found.push(Difference { path: path.to_owned(), from: from.cloned(), to: to.cloned() });
        return;
    };
    let names: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for name in names {
        let below = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        compare(&below, first.get(name), second.get(name), found);
    }
}

/// Which side stands where what stands and a branch clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wins {
    /// What stands.
    Main,
    /// What is merged.
    Branch,
}

/// What stands after branches are merged into it.
///
/// # Errors
/// The clashing paths, where nobody said who wins.
pub fn merged(
    ancestor: Option<&Map<String, Value>>,
    main: &Map<String, Value>,
    branches: &[Map<String, Value>],
    wins: Option<Wins>,
) -> Result<Map<String, Value>, Vec<String>> {
    let prefer = if wins == Some(Wins::Branch) { Prefer::Second } else { Prefer::First };
    let (mut stands, mut clashes) = (main.clone(), Vec::new());
    for branch in branches {
        let (merged, more) = merge::objects(ancestor, &stands, branch, prefer);
        stands = merged;
        clashes.extend(more);
    }
    if wins.is_none() && !clashes.is_empty() { Err(clashes) } else { Ok(stands) }
}

#[cfg(test)]
mod tests;
