//! What a message takes in memory, from the descriptors and its bytes, without reading it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::FILE_DESCRIPTOR_SET;

/// What a field takes in its struct at most, bytes: a list, a text, or a number that may be absent.
const FIELD_BYTES: usize = 32;
/// What a number takes in a list, bytes.
const NUMBER_BYTES: usize = 8;
/// The least that the allocator takes for anything, bytes.
const ALLOCATED_BYTES_MIN: usize = 32;
/// Most messages inside one another; no message of the protocol holds itself.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Holds {
    /// And whether it may be absent.
    Number(bool),
    Text,
    Message(usize),
}

#[derive(Debug)]
struct Field {
    is_list: bool,
    holds: Holds,
}

/// A message's fields by number, and what its struct takes with those inside it, bytes.
#[derive(Debug)]
struct Form {
    bytes: usize,
    fields: BTreeMap<u32, Field>,
}

#[derive(Debug)]
struct Forms {
    by_name: BTreeMap<String, usize>,
    forms: Vec<Form>,
}

static FORMS: LazyLock<Forms> = LazyLock::new(Forms::new);

/// The form of the message of this name.
pub(crate) fn of(name: &str) -> Option<usize> {
    FORMS.by_name.get(name).copied()
}

/// What these bytes take once they are read as this message; `None` = more than this. Bytes that are no message weigh
/// what is before the fault: nobody reads further either.
pub(crate) fn weight(form: usize, bytes: &[u8], most: usize) -> Option<usize> {
    let mut scale = Scale { forms: &FORMS.forms, weight: 0, most };
    let form = FORMS.forms.get(form)?;
    if scale.add(form.bytes).is_some() {
        // Where the bytes end to be a message is no matter here.
        scale.put(form, bytes, 0).unwrap_or_default();
    }
    (scale.weight <= most).then_some(scale.weight)
}

impl Forms {
    fn new() -> Self {
        // They are compiled in: without them no message has a form, and none is read.
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut messages = Vec::new();
        for file in set.file {
            for message in file.message_type {
                collect(file.package.as_deref().unwrap_or_default(), message, &mut messages);
            }
        }
        let by_name: BTreeMap<String, usize> =
            messages.iter().enumerate().map(|(n, (name, _))| (name.clone(), n)).collect();
        let mut forms: Vec<Form> = messages
            .iter()
            .map(|(_, message)| {
                let fields = message.field.iter().filter_map(|field| {
                    Some((u32::try_from(field.number()).ok()?, Field::of(field, &by_name)))
                });
                Form { bytes: 0, fields: fields.collect() }
            })
            .collect();
        let bytes: Vec<usize> = (0..forms.len()).map(|form| struct_bytes(&forms, form, 0)).collect();
        for (form, bytes) in forms.iter_mut().zip(bytes) {
            form.bytes = bytes;
        }
        Self { by_name, forms }
    }
}

/// A message and those declared in it, by name.
fn collect(within: &str, mut message: DescriptorProto, into: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{within}.{}", message.name());
    for nested in std::mem::take(&mut message.nested_type) {
        collect(&name, nested, into);
    }
    into.push((name, message));
}

impl Field {
    fn of(field: &FieldDescriptorProto, by_name: &BTreeMap<String, usize>) -> Self {
        let of_message = || by_name.get(field.type_name().trim_start_matches('.')).copied();
        let holds = match field.r#type() {
            Type::Message => of_message().map_or(Holds::Text, Holds::Message),
            Type::String | Type::Bytes => Holds::Text,
            _ => Holds::Number(field.proto3_optional() || field.oneof_index.is_some()),
        };
        Self { is_list: field.label() == Label::Repeated, holds }
    }
}

/// What the struct takes, with what is inside it and is no list.
fn struct_bytes(forms: &[Form], form: usize, depth: usize) -> usize {
    let Some(form) = forms.get(form).filter(|_| depth < DEPTH_MAX) else { return FIELD_BYTES };
    let field_bytes = |field: &Field| match field.holds {
        Holds::Message(inside) if !field.is_list => {
            struct_bytes(forms, inside, depth + 1).saturating_add(NUMBER_BYTES)
        }
        Holds::Number(false) if !field.is_list => NUMBER_BYTES,
        Holds::Number(true) if !field.is_list => 2 * NUMBER_BYTES,
        _ => FIELD_BYTES,
    };
    form.fields.values().map(field_bytes).fold(0, usize::saturating_add)
}

/// What was weighed so far.
struct Scale<'a> {
    forms: &'a [Form],
    weight: usize,
    most: usize,
}

impl Scale<'_> {
    /// `None` = it is too much.
    fn add(&mut self, bytes: usize) -> Option<()> {
        self.weight = self.weight.saturating_add(bytes);
        (self.weight <= self.most).then_some(())
    }

    /// `None` = it is too much, or no message.
    fn put(&mut self, form: &Form, mut bytes: &[u8], depth: usize) -> Option<()> {
        while !bytes.is_empty() {
            let (number, wire_type) = decode_key(&mut bytes).ok()?;
            match form.fields.get(&number) {
                Some(field) if wire_type == WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                    let (inside, rest) = bytes.split_at_checked(length)?;
                    bytes = rest;
                    self.put_field(field, inside, depth)?;
                }
                field => {
                    skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
                    if field.is_some_and(|field| field.is_list) {
                        self.add(NUMBER_BYTES)?;
                    }
                }
            }
        }
        Some(())
    }

    fn put_field(&mut self, field: &Field, inside: &[u8], depth: usize) -> Option<()> {
        match field.holds {
            Holds::Message(form) => {
                let form = self.forms.get(form).filter(|_| depth < DEPTH_MAX)?;
                if field.is_list {
                    self.add(form.bytes)?;
                }
                self.put(form, inside, depth + 1)
            }
            Holds::Text => {
                if field.is_list {
                    self.add(FIELD_BYTES)?;
                }
                let is_there = !inside.is_empty();
                self.add(if is_there { inside.len().max(ALLOCATED_BYTES_MIN) } else { 0 })
            }
            // Each may be one byte.
            Holds::Number(_) => self.add(inside.len().saturating_mul(NUMBER_BYTES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(form: &Form, depth_so_far: usize) -> usize {
        assert!(depth_so_far < DEPTH_MAX, "a message holds itself");
        let inside = form.fields.values().filter_map(|field| match field.holds {
            Holds::Message(inside) => Some(depth(&FORMS.forms[inside], depth_so_far + 1)),
            Holds::Number(_) | Holds::Text => None,
        });
        inside.max().unwrap_or(depth_so_far)
    }

    #[test]
    fn no_message_of_the_protocol_holds_itself() {
        assert!(FORMS.forms.len() > 100, "{} messages", FORMS.forms.len());
        assert!(FORMS.forms.iter().all(|form| depth(form, 0) < DEPTH_MAX));
    }
}
