//! Bodies that are no canonical JSON, or not what their kind says.

use semantics::reason::Reason::{Malformed, NotCanonical, SchemaViolation, TooLarge, UnsafeNumber};

use super::table::{Heard, Row, attack};
use super::world::World;

const MALFORMED: Heard = Heard::Rejected(Malformed);
const NOT_CANONICAL: Heard = Heard::Rejected(NotCanonical);
const UNSAFE_NUMBER: Heard = Heard::Rejected(UnsafeNumber);

async fn note(world: &World, body: &[u8]) -> Heard {
    world.mallory.tries(world.mallory.put("note", "m", body)).await
}

pub fn rows() -> Vec<Row> {
    let mut rows = json();
    rows.extend(values());
    rows
}

fn json() -> Vec<Row> {
    vec![
        attack!("no JSON", Node, MALFORMED, |world| note(world, b"{").await),
        attack!("an empty body", Node, MALFORMED, |world| note(world, b"").await),
        attack!("a body that is not UTF-8", Node, MALFORMED, |world| note(world, b"{\"a\":\"\xff\xfe\"}")
            .await),
        attack!("half a surrogate pair", Node, MALFORMED, |world| note(world, br#"{"a":"\ud800"}"#).await),
        attack!("two bodies in one", Node, MALFORMED, |world| note(world, b"{}{}").await),
        attack!("a list instead of an object", Node, MALFORMED, |world| note(world, b"[]").await),
        attack!("lists nested 10 000 deep", Node, MALFORMED, |world| {
            let body = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
            note(world, body.as_bytes()).await
        }),
        attack!("a key twice", Node, NOT_CANONICAL, |world| note(world, br#"{"a":1,"a":2}"#).await),
        attack!("keys out of order", Node, NOT_CANONICAL, |world| note(world, br#"{"b":1,"a":2}"#).await),
        attack!("a space between", Node, NOT_CANONICAL, |world| note(world, br#"{"a": 1}"#).await),
        attack!("a number that can be written shorter", Node, NOT_CANONICAL, |world| {
            note(world, br#"{"a":1.0}"#).await
        }),
        attack!("an escape that is not needed", Node, NOT_CANONICAL, |world| {
            note(world, br#"{"a":"\u0041"}"#).await
        }),
    ]
}

fn values() -> Vec<Row> {
    vec![
        attack!("an integer beyond 2^53", Node, UNSAFE_NUMBER, |world| {
            note(world, br#"{"a":9007199254740993}"#).await
        }),
        attack!("a number beyond every double", Node, MALFORMED, |world| note(world, br#"{"a":1e400}"#)
            .await),
        attack!("a body of more than 256 KiB", Node, Heard::Refused(TooLarge), |world| {
            note(world, format!(r#"{{"a":"{}"}}"#, "x".repeat(256 * 1024)).as_bytes()).await
        }),
        attack!("1 025 fields", Node, Heard::Rejected(TooLarge), |world| {
            let fields: Vec<String> = (0..1_025).map(|n| format!(r#""f{n:04}":1"#)).collect();
            let body = format!("{{{}}}", fields.join(","));
            world.mallory.tries(world.mallory.put("entity", "m", body.as_bytes())).await
        }),
        attack!("a field name of 257 bytes", Node, Heard::Rejected(TooLarge), |world| {
            note(world, format!(r#"{{"{}":1}}"#, "f".repeat(257)).as_bytes()).await
        }),
        attack!("a value that the kind's schema forbids", Node, Heard::Rejected(SchemaViolation), |world| {
            world.mallory.tries(world.mallory.put("lamp", "m", br#"{"watts":"many"}"#)).await
        }),
    ]
}
