//! Bytes that earlier builds wrote are still read as what they meant, and no field has changed its number or type.
//!
//! `RECORD=1 cargo test -p proto` writes what is not recorded yet; what is there is never written over.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};
use proto::Wire;

use super::samples::*;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name)
}

fn is_recording() -> bool {
    std::env::var_os("RECORD").is_some()
}

fn reads_as<T: Wire + PartialEq + Debug>(name: &str, value: &T) {
    let path = path(&format!("{name}.bin"));
    if is_recording() && !path.exists() {
        std::fs::write(&path, value.to_wire()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&T::from_wire(&bytes).unwrap(), value, "{name}");
}

#[test]
fn recorded_messages_are_read_as_what_they_meant() {
    client_messages().iter().for_each(|(name, message)| reads_as(name, message));
    server_messages().iter().for_each(|(name, message)| reads_as(name, message));
    reads_as("reconcile", &reconcile());
    reads_as("reconcile_adopting", &adopting());
    reads_as("reconcile_leaving_an_epoch", &leaving_an_epoch());
    reads_as("reconciliation", &reconciliation());
    reads_as("reconciliation_last", &last_reconciliation());
}

#[test]
fn recorded_envelopes_are_read_as_what_they_meant() {
    reads_as("put", &put());
    reads_as("patch", &patch());
    reads_as("delete", &delete());
    reads_as("record", &record());
    reads_as("tombstone", &tombstone());
    reads_as("dot_outcome", &dot_outcome());
}

#[test]
fn no_field_or_enum_value_has_gone_or_changed() {
    let set = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut lines = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package() == "hubward.v1") {
        file.message_type.iter().for_each(|message| describe(message, "", &mut lines));
        for choices in &file.enum_type {
            describe_enum(choices, "", &mut lines);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |is: Option<bool>| if is.unwrap_or(false) { "stream " } else { "" };
                let input = format!("{}{}", stream(method.client_streaming), method.input_type());
                let output = format!("{}{}", stream(method.server_streaming), method.output_type());
                lines.insert(format!("{}/{} {input} -> {output}", service.name(), method.name()));
            }
        }
    }
    let path = path("surface.txt");
    if is_recording() && !path.exists() {
        let text: Vec<&str> = lines.iter().map(String::as_str).collect();
        std::fs::write(&path, text.join("\n") + "\n").unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    let gone: Vec<&str> = recorded.lines().filter(|line| !lines.contains(*line)).collect();
    assert!(gone.is_empty(), "recorded, but not in the .proto files any more: {gone:#?}");
}

fn describe(message: &DescriptorProto, outer: &str, lines: &mut BTreeSet<String>) {
    let name = format!("{outer}{}", message.name());
    for field in &message.field {
        let what = match field.type_name() {
            "" => field.r#type().as_str_name(),
            name => name,
        };
        let (label, number) = (field.label().as_str_name(), field.number());
        lines.insert(format!("{name} {number} {} {label} {what}", field.name()));
    }
    message.nested_type.iter().for_each(|nested| describe(nested, &format!("{name}."), lines));
    message.enum_type.iter().for_each(|choices| describe_enum(choices, &format!("{name}."), lines));
}

fn describe_enum(choices: &prost_types::EnumDescriptorProto, outer: &str, lines: &mut BTreeSet<String>) {
    for value in &choices.value {
        lines.insert(format!("{outer}{} {} {}", choices.name(), value.number(), value.name()));
    }
}
