//! One row and what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use semantics::envelope::Placement;
use semantics::ids::{Domain, Key, Kind, RecordId, Subject};
use semantics::kind::{self, is_pushable};
use semantics::reason::{Reason, Refusal};
use semantics::schema::CompiledSchema;
use serde_json::{Map, Value};

use super::mapping::Collection;
use super::read::Row;
use super::{Mapping, Options};
use crate::replica::{Write, WriteOp};

/// What a row comes to.
#[derive(Debug)]
pub(super) enum Asked {
    Write(Write),
    /// A record of the hub's own.
    Nothing,
}

/// Turns the rows of one file into writes.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    options: &'a Options,
    /// Without a name: of rows of no collection.
    schemas: BTreeMap<Option<&'a str>, CompiledSchema>,
    seen: BTreeSet<Key>,
}

impl<'a> Rules<'a> {
    /// Those of some options.
    pub(super) fn new(options: &'a Options) -> Result<Self, Refusal> {
        let Mapping { rows, collections, .. } = &options.mapping;
        let named = collections.iter().map(|(name, collection)| (Some(name.as_str()), collection));
        let compiled = |(name, collection): (Option<&'a str>, &Collection)| {
            let of = |e: Refusal| {
                Refusal::new(e.reason, format!("mapping of {}: {}", name.unwrap_or("rows"), e.detail))
            };
            CompiledSchema::compile(&collection.schema).map(|schema| (name, schema)).map_err(of)
        };
        let schemas = named.chain([(None, rows)]).map(compiled).collect::<Result<_, _>>()?;
        Ok(Self { options, schemas, seen: BTreeSet::new() })
    }

    /// What a row asks for, or why it is bad and how it reads.
    pub(super) fn asked(&mut self, row: Row) -> Result<Asked, (Refusal, Value)> {
        let value = match row.value {
            Ok(value) => value,
            Err((refusal, text)) => return Err((refusal, Value::String(text))),
        };
        let Value::Object(fields) = value else {
            return Err((malformed("a row is a JSON object"), value));
        };
        match self.of_fields(&fields, row.collection.as_deref()) {
            Ok(asked) => Ok(asked),
            Err(refusal) => Err((refusal, Value::Object(fields))),
        }
    }

    fn of_fields(&mut self, fields: &Map<String, Value>, named: Option<&str>) -> Result<Asked, Refusal> {
        let mapping = &self.options.mapping;
        let by_field = match &mapping.by {
            Some(field) if named.is_none() => Some(self.collection_in(field, fields)?),
            _ => None,
        };
        let name = named.or(by_field.as_deref());
        let known = name.and_then(|name| mapping.collections.get_key_value(name));
        let unknown = Collection::default();
        let (schema, rules) = match (known, name) {
            (Some((name, rules)), _) => (self.schemas.get(&Some(name.as_str())), rules),
            (None, Some(_)) => (None, &unknown),
            (None, None) => (self.schemas.get(&None), &mapping.rows),
        };
        if let Some(schema) = schema {
            schema.check_object(fields.clone())?;
        }
        let kind = kind_of(fields, rules, self.options)?;
        if rules.kind_field.is_some() && !is_pushable(&kind) {
            return Ok(Asked::Nothing);
        }
        let id = id_of(fields, name, rules, self.options)?;
        let key = Key { kind, id: RecordId::new(id).map_err(|e| malformed(e.to_string()))? };
        if self.seen.contains(&key) {
            return Err(malformed(format!("{key} stands in this file twice")));
        }
        let write = Write {
            key: key.clone(),
            op: WriteOp::Put(rules.shape(fields.clone())?),
            placement: placement_of(fields, rules)?,
        };
        self.seen.insert(key);
        Ok(Asked::Write(write))
    }

    fn collection_in(&self, field: &str, fields: &Map<String, Value>) -> Result<String, Refusal> {
        let name = text_of(field, fields)?.ok_or_else(|| malformed(format!("no field {field:?}")))?;
        let collections = &self.options.mapping.collections;
        if collections.contains_key(&name) {
            return Ok(name);
        }
        let names: Vec<&str> = collections.keys().map(String::as_str).collect();
        Err(malformed(format!("{field} {name:?} is none of {}", names.join(", "))))
    }
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Malformed, detail)
}

/// A field's text; a number stands for its decimal text.
fn text_of(field: &str, fields: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match fields.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(malformed(format!("field {field:?} is neither text nor a number"))),
    }
}

fn kind_of(fields: &Map<String, Value>, rules: &Collection, options: &Options) -> Result<Kind, Refusal> {
    if let Some(field) = &rules.kind_field {
        let name = text_of(field, fields)?.ok_or_else(|| malformed(format!("no field {field:?}")))?;
        return Kind::new(name).map_err(|e| malformed(e.to_string()));
    }
    let kind = rules.kind.clone().or_else(|| options.kind.clone());
    kind.ok_or_else(|| malformed("no kind is given: pass --kind"))
}

fn id_of(
    fields: &Map<String, Value>,
    collection: Option<&str>,
    rules: &Collection,
    options: &Options,
) -> Result<String, Refusal> {
    if !rules.id_of.is_empty() && options.id_fields.is_empty() {
        return composed(&rules.id_of, fields);
    }
    let candidates = id_candidates(collection, rules, options);
    for field in &candidates {
        if let Some(id) = text_of(field, fields)? {
            return Ok(id);
        }
    }
    Err(malformed(format!("no id: none of the fields {} is there", candidates.join(", "))))
}

fn composed(parts: &[String], fields: &Map<String, Value>) -> Result<String, Refusal> {
    let mut texts = Vec::new();
    for field in parts {
        let text = text_of(field, fields)?;
        let text = text.ok_or_else(|| malformed(format!("no id: the field {field} is not there")))?;
        texts.push(Value::String(text));
    }
    Ok(kind::id_of(texts))
}

fn id_candidates(collection: Option<&str>, rules: &Collection, options: &Options) -> Vec<String> {
    if !options.id_fields.is_empty() {
        return options.id_fields.clone();
    }
    if !rules.id.is_empty() {
        return rules.id.clone();
    }
    let mut fields = vec!["id".to_owned()];
    if let Some(name) = collection {
        let one = singular(name);
        fields.extend(["id", "code", "key", "number"].map(|end| format!("{one}_{end}")));
    }
    fields
}

fn singular(plural: &str) -> String {
    if let Some(stem) = plural.strip_suffix("ies") {
        return format!("{stem}y");
    }
    plural.strip_suffix('s').unwrap_or(plural).to_owned()
}

fn placement_of(fields: &Map<String, Value>, rules: &Collection) -> Result<Option<Placement>, Refusal> {
    let optional = |field: &Option<String>| match field {
        Some(field) => text_of(field, fields),
        None => Ok(None),
    };
    let Some(domain) = optional(&rules.domain_field)? else { return Ok(None) };
    let domain = Domain::new(domain).map_err(|e| malformed(e.to_string()))?;
    let subject = optional(&rules.subject_field)?.map(Subject::new).transpose();
    Ok(Some(Placement { domain, subject: subject.map_err(|e| malformed(e.to_string()))? }))
}
