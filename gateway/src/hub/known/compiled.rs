//! Kinds as decisions take them: declared or built in, with the policy that was set for them, compiled once.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use semantics::builtin;
use semantics::decide::Parsed;
use semantics::envelope::{Content, KEY_ID_CLEAR, Op, Record};
use semantics::fault::Fault;
use semantics::ids::{Kind, RecordId, Revision};
use semantics::kind::{Declaration, Policy, PolicySet, Rule};
use semantics::reason::Refusal;
use semantics::schema::CompiledSchema;
use serde_json::{Map, Value, json};

use super::control_body;
use crate::hub::heavy;
use crate::store::Current;

/// A kind, ready to be applied.
#[derive(Debug)]
pub struct CompiledKind {
    /// Its declaration.
    pub declaration: Declaration,
    /// Its rule.
    pub rule: Rule,
    /// Its schema.
    pub schema: CompiledSchema,
    /// Whether every body fits: a body in clear is an object, whatever its kind.
    is_free: bool,
}

impl CompiledKind {
    fn new(declaration: Declaration, version: Revision) -> Result<Self, Refusal> {
        let schema = heavy::compile(&declaration)?;
        let says_nothing = [Value::Bool(true), json!({"type": "object"})].contains(&declaration.schema);
        let is_free = says_nothing && declaration.id_of.is_empty();
        Ok(Self { rule: declaration.rule(version), declaration, schema, is_free })
    }

    /// How much checking a body of so many bytes may cost, at most, in looks at one value.
    #[must_use]
    pub fn looks(&self, bytes: u64) -> u64 {
        if self.is_free { 0 } else { self.schema.looks(bytes) }
    }

    /// A kind as it stands: as its control record declares it, else as it is built in, with the policy that was set
    /// for it.
    #[must_use]
    pub fn standing(kind: &Kind, declared: Option<&Current>, set: Option<&Current>) -> Option<Arc<Self>> {
        let declaration: Option<Declaration> = control_body(declared);
        let policy: Option<PolicySet> = control_body(set);
        if declaration.is_none() && policy.is_none() {
            return builtin_kind(kind);
        }
        let live = [declared.filter(|_| declaration.is_some()), set.filter(|_| policy.is_some())];
        let version = live.into_iter().flatten().map(|current| current.pointer.revision).max();
        let declaration = declaration.or_else(|| builtin::builtin(kind).cloned())?;
        let policy = policy.filter(|_| !Fault::PolicySetIgnored.is_planted());
        Self::new(declaration.with(policy.as_ref()), version.unwrap_or_default()).ok().map(Arc::new)
    }

    /// Checks what a mutation makes of a record, whatever the mutation says.
    ///
    /// # Errors
    /// `SCHEMA_VIOLATION` with the path.
    pub fn check(&self, parsed: &Parsed, record: &Record) -> Result<(), Refusal> {
        let Content::Live(body) = &record.content else { return Ok(()) };
        if record.key_id != KEY_ID_CLEAR || self.is_free {
            return Ok(());
        }
        let id = &record.key.id;
        if let Op::Put { body: put } = &parsed.mutation.op
            && self.rule.policy != Policy::Fields
        {
            self.fits(id, parsed.fields().clone())?;
            // What else may stand was checked when it was put, but for what is merged of several.
            if put == body || !self.rule.policy.is_ordered() {
                return Ok(());
            }
        }
        self.fits(id, semantics::canonical::parse_object(body)?)
    }

    fn fits(&self, id: &RecordId, body: Map<String, Value>) -> Result<(), Refusal> {
        self.declaration.check_id(id, &body)?;
        self.schema.check(&Value::Object(body))
    }
}

pub(super) fn builtin_kind(kind: &Kind) -> Option<Arc<CompiledKind>> {
    static COMPILED: OnceLock<BTreeMap<Kind, Arc<CompiledKind>>> = OnceLock::new();
    let compile = |declaration: &Declaration| {
        let compiled = CompiledKind::new(declaration.clone(), Revision::ZERO).ok()?;
        Some((declaration.name.clone(), Arc::new(compiled)))
    };
    COMPILED.get_or_init(|| builtin::all().iter().filter_map(compile).collect()).get(kind).cloned()
}
