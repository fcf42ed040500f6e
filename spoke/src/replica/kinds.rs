//! The kinds as declared where the replica stands: built-in ones and those of the confirmed layer.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use semantics::builtin;
use semantics::envelope::Record;
use semantics::ids::{Kind, Revision};
use semantics::kind::{self, Declaration, Rule};
use semantics::reason::{Reason, Refusal};
use semantics::schema::CompiledSchema;

use super::store::{ROWS_MAX, Range, ReplicaTxn};
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

    /// Reads the declarations of the confirmed layer. One that cannot be understood here (written by a newer hub)
    /// is left out, so that its kind is refused by name and nothing else is.
    pub(crate) async fn load(txn: &mut dyn ReplicaTxn) -> Result<Self, StoreError> {
        let mut kinds = BUILT_IN.clone();
        let mut range = Range { kind: Kind::new(kind::KIND).ok(), ..Range::default() };
        loop {
            let rows = txn.confirmed_page(&range, ROWS_MAX).await?;
            let Some(last) = rows.last() else { return Ok(Self(kinds)) };
            range.after = Some(last.record.key.clone());
            for row in &rows {
                let Some(declaration) = declared(&row.record) else { continue };
                if let Ok(rules) = KindRules::new(declaration, row.revision) {
                    kinds.insert(rules.declaration.name.clone(), Arc::new(rules));
                }
            }
        }
    }
}

fn declared(record: &Record) -> Option<Declaration> {
    serde_json::from_slice(record.body()?).ok()
}
