//! The kinds as declared where the replica stands: built-in ones and those of the confirmed layer.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use semantics::builtin;
use semantics::canonical::parse_object;
use semantics::envelope::{KEY_ID_CLEAR, Record};
use semantics::ids::{Kind, Revision};
use semantics::kind::{self, Declaration, PolicySet, Rule};
use semantics::reason::{Reason, Refusal};
use semantics::schema::CompiledSchema;

use super::pages::ROWS_AT_ONCE;
use super::store::{Range, ReplicaTxn};
use crate::error::StoreError;

/// A kind, ready to check and decide with.
#[derive(Debug)]
pub(crate) struct KindRules {
    pub(crate) declaration: Declaration,
    pub(crate) rule: Rule,
    pub(crate) schema: CompiledSchema,
}

impl KindRules {
    fn new(declaration: Declaration, version: Revision) -> Result<Self, Refusal> {
        let schema = CompiledSchema::compile(&declaration.schema)?;
        let rule = declaration.rule(version);
        Ok(Self { declaration, rule, schema })
    }

    /// Whether a record's id is the one that its body says, of a kind whose ids are made of fields.
    pub(crate) fn check_id(&self, record: &Record) -> Result<(), Refusal> {
        match record.body().filter(|_| record.key_id == KEY_ID_CLEAR && !self.declaration.id_of.is_empty()) {
            Some(body) => self.declaration.check_id(&record.key.id, &parse_object(body)?),
            None => Ok(()),
        }
    }
}

/// Those that every replica knows, their schemas compiled once.
static BUILT_IN: LazyLock<BTreeMap<Kind, Arc<KindRules>>> = LazyLock::new(|| {
    let rules = builtin::all().iter().filter_map(|kind| KindRules::new(kind.clone(), Revision::ZERO).ok());
    rules.map(|rules| (rules.declaration.name.clone(), Arc::new(rules))).collect()
});

/// Every kind by name.
#[derive(Debug, Default)]
pub(crate) struct Kinds(BTreeMap<Kind, Arc<KindRules>>);

impl Kinds {
    pub(crate) fn get(&self, kind: &Kind) -> Option<&Arc<KindRules>> {
        self.0.get(kind)
    }

    /// The kind, or a refusal that names it.
    pub(crate) fn require(&self, kind: &Kind) -> Result<&Arc<KindRules>, Refusal> {
        self.get(kind)
            .ok_or_else(|| Refusal::new(Reason::KindUndeclared, format!("no kind {kind} is declared")))
    }

    /// Reads the declarations of the confirmed layer, and the policies set for kinds. One that cannot be understood
    /// here (written by a newer hub) is left out, so that its kind is refused by name and nothing else is.
    pub(crate) async fn load(txn: &mut dyn ReplicaTxn) -> Result<Self, StoreError> {
        let mut kinds = BUILT_IN.clone();
        let mut set: BTreeMap<Kind, (PolicySet, Revision)> = BTreeMap::new();
        for (name, body, revision) in controls(txn, kind::POLICY).await? {
            set.extend(serde_json::from_slice(&body).ok().map(|policy| (name, (policy, revision))));
        }
        let mut declared: BTreeMap<Kind, (Declaration, Revision)> = BTreeMap::new();
        for (name, body, revision) in controls(txn, kind::KIND).await? {
            declared.extend(
                serde_json::from_slice(&body).ok().map(|declaration| (name, (declaration, revision))),
            );
        }
        let built_in = set.keys().filter_map(|name| builtin::builtin(name));
        for declaration in built_in {
            let entry = declared.entry(declaration.name.clone());
            entry.or_insert_with(|| (declaration.clone(), Revision::ZERO));
        }
        for (name, (declaration, revision)) in declared {
            let set = set.get(&name);
            let version = set.map_or(revision, |(_, at)| revision.max(*at));
            if let Ok(rules) = KindRules::new(declaration.with(set.map(|(policy, _)| policy)), version) {
                kinds.insert(name, Arc::new(rules));
            }
        }
        Ok(Self(kinds))
    }
}

/// The live control records of a kind that is about kinds: whose they are, their bodies and revisions.
async fn controls(
    txn: &mut dyn ReplicaTxn,
    kind: &str,
) -> Result<Vec<(Kind, Vec<u8>, Revision)>, StoreError> {
    let mut found = Vec::new();
    let mut range = Range { kind: Kind::new(kind).ok(), ..Range::default() };
    loop {
        let rows = txn.confirmed_page(&range, ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(found) };
        range.after = Some(last.record.key.clone());
        for row in &rows {
            let Ok(name) = Kind::new(row.record.key.id.as_str()) else { continue };
            found.extend(row.record.body().map(|body| (name, body.to_vec(), row.revision)));
        }
    }
}
