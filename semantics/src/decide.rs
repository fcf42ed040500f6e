//! `decide`: what becomes of a mutation. Pure and total.

use serde_json::{Map, Value};

use crate::conflict::Clash;
use crate::envelope::{Mutation, Placement, Record};
use crate::kind::Rule;
use crate::reason::Refusal;

/// A mutation with its body or patch parsed once (key id 0), so that nothing parses it again.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The mutation.
    pub mutation: Mutation,
    /// Body of a put or `set` of a patch, when in clear and an object; empty otherwise.
    pub fields: Map<String, Value>,
}

/// What surrounds a decision.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where a new record goes whose mutation names no placement.
    pub default_placement: Placement,
}

/// What becomes of a mutation.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Its base was current.
    Applied(Box<Record>),
    /// Beside concurrent changes, nothing lost.
    Merged(Box<Record>),
    /// Beside concurrent changes, at least one value lost.
    Conflicted {
        /// The record as it stands now; the mutation's dot is in its version.
        record: Box<Record>,
        /// What lost against what.
        clashes: Vec<Clash>,
    },
    /// No effect.
    Rejected(Refusal),
}
