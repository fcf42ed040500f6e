//! The record envelope.

use std::collections::BTreeMap;

use semantics::clock::Stamp;
use semantics::envelope::{BODY_BYTES_MAX, Content, FIELDS_MAX, FieldStamp, Record};
use semantics::ids::{Facet, Incarnation, NodeId, Salt};

use super::mutation::field_name;
use crate::shape::{At, ShapeError, at_most, optional, required};
use crate::v1;

/// Each field names one mutation; a body without fields one in all.
const INPUTS_MAX: usize = FIELDS_MAX + 1;

fn fields(stamps: Vec<v1::FieldStamp>) -> Result<BTreeMap<String, FieldStamp>, ShapeError> {
    at_most("fields", stamps.len(), FIELDS_MAX, "fields")?;
    let mut fields = BTreeMap::new();
    for (i, field) in stamps.into_iter().enumerate() {
        let path = format!("fields[{i}]");
        field_name(&field.field).at("field").at(&path)?;
        ascends(fields.last_key_value(), &field.field).at(&path)?;
        let stamp = required("stamp", field.stamp).at(&path)?;
        fields.insert(field.field, FieldStamp { stamp, removed: field.removed });
    }
    Ok(fields)
}

fn inputs(inputs: Vec<v1::Input>) -> Result<BTreeMap<Stamp, Salt>, ShapeError> {
    at_most("inputs", inputs.len(), INPUTS_MAX, "inputs")?;
    let mut read = BTreeMap::new();
    for (i, input) in inputs.into_iter().enumerate() {
        let path = format!("inputs[{i}]");
        let stamp: Stamp = required("stamp", input.stamp).at(&path)?;
        ascends(read.last_key_value(), &stamp).at(&path)?;
        read.insert(stamp, Salt::from_slice(&input.salt).at("salt").at(&path)?);
    }
    Ok(read)
}

fn ascends<K: Ord, V>(last: Option<(&K, &V)>, next: &K) -> Result<(), ShapeError> {
    match last.is_some_and(|(last, _)| last >= next) {
        true => Err(ShapeError::invalid("must come after the one before it")),
        false => Ok(()),
    }
}

impl TryFrom<v1::Record> for Record {
    type Error = ShapeError;
    fn try_from(record: v1::Record) -> Result<Self, ShapeError> {
        at_most("body", record.body.as_ref().map_or(0, Vec::len), BODY_BYTES_MAX, "bytes")?;
        Ok(Self {
            key: required("key", record.key)?,
            placement: required("placement", record.placement)?,
            placement_stamp: required("placement_stamp", record.placement_stamp)?,
            facet: record.facet.map(Facet::new).transpose().at("facet")?,
            incarnation: Incarnation(record.incarnation),
            version: optional("version", record.version)?.unwrap_or_default(),
            stamp: required("stamp", record.stamp)?,
            author: NodeId::from_slice(&record.author).at("author")?,
            key_id: record.key_id,
            salt: Salt::from_slice(&record.salt).at("salt")?,
            content: record.body.map_or(Content::Deleted, |body| Content::Live(body.into())),
            fields: fields(record.fields)?,
            inputs: inputs(record.inputs)?,
        })
    }
}

impl From<&Record> for v1::Record {
    fn from(record: &Record) -> Self {
        let field = |(field, stamp): (&String, &FieldStamp)| v1::FieldStamp {
            field: field.clone(),
            stamp: Some((&stamp.stamp).into()),
            removed: stamp.removed,
        };
        let input = |(stamp, salt): (&Stamp, &Salt)| v1::Input {
            stamp: Some(stamp.into()),
            salt: salt.as_bytes().to_vec(),
        };
        Self {
            key: Some((&record.key).into()),
            placement: Some((&record.placement).into()),
            placement_stamp: Some((&record.placement_stamp).into()),
            facet: record.facet.as_ref().map(ToString::to_string),
            incarnation: record.incarnation.0,
            version: Some((&record.version).into()),
            stamp: Some((&record.stamp).into()),
            author: record.author.as_bytes().to_vec(),
            key_id: record.key_id,
            salt: record.salt.as_bytes().to_vec(),
            body: record.body().map(<[u8]>::to_vec),
            fields: record.fields.iter().map(field).collect(),
            inputs: record.inputs.iter().map(input).collect(),
        }
    }
}
