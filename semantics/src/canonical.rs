//! Canonical JSON (RFC 8785) for whatever is hashed. Authors send canonical bytes; the hub parses once and checks
//! on the way that canonicalising what it parsed gives the same bytes, so that one state never has two digests.

use std::io;

use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::envelope::BODY_BYTES_MAX;
use crate::reason::{Reason, Refusal};

mod quick;
mod strict;

pub use quick::is_plainly_canonical;
pub use strict::{from_json, object_from_json};

/// Deepest nesting of arrays and objects; a scalar has depth 0, `{}` has depth 1.
pub const DEPTH_MAX: usize = 64;
/// Largest magnitude of an integer that a double holds and no other integer rounds to: 2^53 - 1.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// 2^53: from here on a double may stand for several integers.
const UNSAFE_FROM: f64 = 9_007_199_254_740_992.0;

/// Parses a body: a JSON object in canonical form, in UTF-8, at most [`BODY_BYTES_MAX`] and [`DEPTH_MAX`].
/// A repeated name is refused as not canonical, because parsing keeps one of the two only.
///
/// # Errors
/// `MALFORMED` when it is not a JSON object, `TOO_LARGE` past a bound, `UNSAFE_NUMBER` with the JSON pointer of
/// an integral number beyond ±(2^53 - 1), `NOT_CANONICAL` when its canonical form has other bytes.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if bytes.len() > BODY_BYTES_MAX {
        let detail = format!("body has {} bytes, at most {BODY_BYTES_MAX} are allowed", bytes.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Refusal::new(Reason::Malformed, format!("not JSON: {e}")))?;
    let Value::Object(object) = value else {
        return Err(Refusal::new(Reason::Malformed, "not a JSON object"));
    };
    check_object(&object)?;
    let mut expected = Expected { all: bytes, matched: 0 };
    match serde_json_canonicalizer::to_writer(&object, &mut expected) {
        Ok(()) if expected.matched == bytes.len() => Ok(object),
        _ => {
            let detail = format!("differs from its canonical form at byte {}", expected.matched);
            Err(Refusal::new(Reason::NotCanonical, detail))
        }
    }
}

/// The canonical bytes of a value whose numbers and depth are checked first.
///
/// # Errors
/// `UNSAFE_NUMBER` and `TOO_LARGE` (depth) as for [`parse_object`].
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, Refusal> {
    check_value(value, 0).map_err(Fault::into_refusal)?;
    write(value)
}

/// The canonical bytes of an object; as [`to_canonical`] without wrapping it in a [`Value`].
///
/// # Errors
/// `UNSAFE_NUMBER` and `TOO_LARGE` (depth) as for [`parse_object`].
pub fn object_to_canonical(object: &Map<String, Value>) -> Result<Vec<u8>, Refusal> {
    check_object(object)?;
    write(object)
}

fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json_canonicalizer::to_vec(value)
        .map_err(|e| Refusal::new(Reason::Malformed, format!("no canonical form: {e}")))
}

fn check_object(object: &Map<String, Value>) -> Result<(), Refusal> {
    check_members(object, 1).map_err(Fault::into_refusal)
}

/// What the walk found, and the path to it, innermost segment first (built while unwinding only).
struct Fault {
    reason: Reason,
    path: Vec<String>,
}

impl Fault {
    fn at(mut self, segment: impl Into<String>) -> Self {
        self.path.push(segment.into());
        self
    }

    fn into_refusal(self) -> Refusal {
        let pointer: String = self
            .path
            .iter()
            .rev()
            .map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1")))
            .collect();
        let detail = match self.reason {
            Reason::UnsafeNumber => format!("the integer at {pointer:?} is beyond 2^53 - 1"),
            _ => format!("nested deeper than {DEPTH_MAX} at {pointer:?}"),
        };
        Refusal::new(self.reason, detail)
    }
}

fn check_value(value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) if is_safe(number) => Ok(()),
        Value::Number(_) => Err(Fault { reason: Reason::UnsafeNumber, path: Vec::new() }),
        Value::Array(items) => check_items(items, depth + 1),
        Value::Object(object) => check_members(object, depth + 1),
    }
}

fn check_items(items: &[Value], depth: usize) -> Result<(), Fault> {
    check_depth(depth)?;
    for (at, item) in items.iter().enumerate() {
        check_value(item, depth).map_err(|fault| fault.at(at.to_string()))?;
    }
    Ok(())
}

fn check_members(object: &Map<String, Value>, depth: usize) -> Result<(), Fault> {
    check_depth(depth)?;
    for (name, value) in object {
        check_value(value, depth).map_err(|fault| fault.at(name.as_str()))?;
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault { reason: Reason::TooLarge, path: Vec::new() });
    }
    Ok(())
}

/// Whether the number stands for one value only once it is a double. Numbers beyond 2^53 are always integral as
/// doubles, so magnitude alone decides.
fn is_safe(number: &Number) -> bool {
    if let Some(n) = number.as_u64() {
        return n <= SAFE_INTEGER_MAX;
    }
    if let Some(n) = number.as_i64() {
        return n.unsigned_abs() <= SAFE_INTEGER_MAX;
    }
    number.as_f64().is_some_and(|n| n.abs() < UNSAFE_FROM)
}

/// A writer that compares instead of keeping, and stops at the first byte that differs.
struct Expected<'a> {
    all: &'a [u8],
    matched: usize,
}

impl io::Write for Expected<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let rest = self.all.get(self.matched..).unwrap_or_default();
        let same = rest.iter().zip(written).take_while(|(a, b)| a == b).count();
        self.matched += same;
        if same < written.len() {
            return Err(io::Error::other("differs"));
        }
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
