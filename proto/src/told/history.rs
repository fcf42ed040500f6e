//! Rows of a record's history as both command lines print them: who wrote what, when, against which version, and why the
//! record looks as it does.
//!
//! - `a_row_says_what_was_written_on_what_and_what_the_hub_made_of_it`.
//! - `what_is_put_together_says_why`.

use std::fmt::Write as _;

use semantics::shown::on_one_line;
use serde_json::{Value, json};

use super::{dot_text, hex, settlement};
use crate::v1;

/// Characters at which a value is cut in the text for people; JSON shows it whole.
const VALUE_CHARS_MAX: usize = 200;

/// A row.
#[must_use]
pub fn row(row: &v1::HistoryRow) -> Value {
    let mutation = row.mutation.as_ref();
    let record = row.record.as_ref();
    let (op, wrote) = mutation.map(written).unwrap_or_default();
    let inputs =
        record.into_iter().flat_map(|record| &record.inputs).filter_map(|input| input.stamp.as_ref());
    let inputs: Vec<String> = inputs.filter_map(|stamp| stamp.dot.as_ref()).map(dot_text).collect();
    let conflict =
        |found: &v1::RowConflict| json!({"id": found.id, "path": found.path, "type": found.r#type});
    json!({
        "revision": row.revision,
        "commit": row.commit,
        "outcome": row.outcome,
        "rule_version": row.rule_version,
        "policy": Some(&row.policy).filter(|policy| !policy.is_empty()),
        "mutation": mutation.map(|mutation| hex(&mutation.id)),
        "dot": mutation.and_then(|mutation| mutation.dot.as_ref()).map(dot_text),
        "author": mutation.map(|mutation| hex(&mutation.author)),
        "written_ms": mutation.map(|mutation| mutation.written_ms),
        "base": mutation.map(|mutation| base(mutation.base.as_ref())),
        "op": op,
        "wrote": wrote,
        "unseen": row.unseen.iter().map(dot_text).collect::<Vec<_>>(),
        "inputs": inputs,
        "conflicts": row.conflicts.iter().map(conflict).collect::<Vec<_>>(),
        "why": why(row),
        "deleted": record.is_some_and(|record| record.body.is_none()),
        "body": record.and_then(|record| record.body.as_ref()).map(|body| json_or_hex(body)),
    })
}

/// What a mutation was made on.
fn base(base: Option<&v1::Base>) -> Value {
    let base = base.cloned().unwrap_or_default();
    let version = base.version.unwrap_or_default();
    json!({
        "revision": base.revision,
        "version": version.dots.iter().map(dot_text).collect::<Vec<_>>(),
        "own": base.own.as_ref().map(dot_text),
    })
}

/// What was done, and with which value.
fn written(mutation: &v1::Mutation) -> (Value, Value) {
    use v1::mutation::Op;
    match &mutation.op {
        Some(Op::Put(put)) => (json!("put"), json_or_hex(&put.body)),
        Some(Op::Patch(patch)) => {
            let mut wrote = json_or_hex(&patch.set);
            if let Value::Object(fields) = &mut wrote {
                fields.extend(patch.remove.iter().map(|name| (name.clone(), Value::Null)));
            }
            (json!("patch"), wrote)
        }
        Some(Op::Delete(_)) => (json!("delete"), json!({"deleted": true})),
        None => (Value::Null, Value::Null),
    }
}

/// Why the record looks as it does: who settled it, or what was put together. Null for what was made on what stood.
fn why(row: &v1::HistoryRow) -> Value {
    if let Some(settled) = &row.settlement {
        return settlement(settled);
    }
    let unseen: Vec<String> = row.unseen.iter().map(dot_text).collect();
    let had = match unseen.as_slice() {
        [] => "its author had seen what stood".to_owned(),
        unseen => format!("its author had not seen {}", unseen.join(", ")),
    };
    let by = if row.policy.is_empty() { "the rule of then" } else { row.policy.as_str() };
    let conflict = row.conflicts.first().map(|conflict| conflict.id.as_str());
    let reason = match (row.outcome.as_str(), conflict) {
        ("merged", _) => format!("{had}: put together by {by}"),
        ("conflicted", Some(id)) => format!("{had}: by {by} it is a side of conflict {id}"),
        ("conflicted", None) => format!("{had}: by {by} it is a side of a conflict"),
        _ => return Value::Null,
    };
    json!({"what": row.outcome, "conflict": conflict, "policy": row.policy, "unseen": unseen, "reason": reason})
}

fn json_or_hex(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| json!(hex(body)))
}

/// Rows for people, as [`row`] gives them: a block of lines for each.
#[must_use]
pub fn text(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut all = String::new();
    for row in rows {
        let of = |name: &str| plain(&row[name]);
        // Writing to a string does not fail.
        let _ = writeln!(all, "revision {}  commit {}  {}", of("revision"), of("commit"), of("outcome"));
        let base = &row["base"];
        let made_on = match (&base["revision"], &base["own"]) {
            (Value::Null, _) => String::new(),
            (revision, own) => {
                let seen = [&base["version"], own].map(plain).into_iter().filter(|text| !text.is_empty());
                format!("revision {revision}: {}", seen.collect::<Vec<_>>().join(", "))
            }
        };
        let reason = plain(&row["why"]["reason"]);
        let by = plain(&row["why"]["by"]);
        let why = match (reason.is_empty(), by.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!("{} by {by}", plain(&row["why"]["what"])),
            (false, true) => reason,
            (false, false) => format!("{} by {by}: {reason}", plain(&row["why"]["what"])),
        };
        let lines = [
            ("author", of("author")),
            ("written_ms", of("written_ms")),
            ("made on", made_on),
            ("op", of("op")),
            ("wrote", of("wrote")),
            ("policy", of("policy")),
            ("rule", of("rule_version")),
            ("inputs", of("inputs")),
            (
                "conflict",
                row["conflicts"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|c| plain(&c["id"]))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            ("why", why),
            ("body", if row["deleted"] == true { "deleted".to_owned() } else { of("body") }),
        ];
        for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
            let is_cut = !matches!(*name, "conflict" | "why") && value.chars().count() > VALUE_CHARS_MAX;
            let cut: String = value.chars().take(VALUE_CHARS_MAX - 1).chain(['…']).collect();
            let _ = writeln!(all, "  {name:10}  {}", if is_cut { &cut } else { value });
        }
    }
    all.trim_end().to_owned()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => on_one_line(text),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => on_one_line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(n: u64) -> v1::Dot {
        v1::Dot { writer: Some(v1::Writer { node: vec![1; 16], epoch: 2 }), n }
    }

    fn merged() -> v1::HistoryRow {
        let base = v1::Base { version: Some(v1::Version { dots: vec![dot(3)] }), revision: 5, own: None };
        let patch = v1::Patch { set: br#"{"x":2}"#.to_vec(), remove: vec!["y".to_owned()] };
        let mutation = v1::Mutation {
            dot: Some(dot(4)),
            op: Some(v1::mutation::Op::Patch(patch)),
            base: Some(base),
            ..Default::default()
        };
        let stamp = Some(v1::Stamp { time: None, dot: Some(dot(4)) });
        let record = v1::Record {
            body: Some(br#"{"x":2}"#.to_vec()),
            inputs: vec![v1::Input { stamp, salt: Vec::new() }],
            ..Default::default()
        };
        v1::HistoryRow {
            revision: 7,
            outcome: "merged".to_owned(),
            mutation: Some(mutation),
            record: Some(record),
            rule_version: 2,
            policy: "fields".to_owned(),
            unseen: vec![dot(9)],
            ..Default::default()
        }
    }

    fn name(n: u64) -> String {
        format!("{}.2:{n}", "01".repeat(16))
    }

    #[test]
    fn a_row_says_what_was_written_on_what_and_what_the_hub_made_of_it() {
        let shown = row(&merged());
        assert_eq!(shown["base"], json!({"revision": 5, "version": [name(3)], "own": null}));
        assert_eq!((&shown["op"], &shown["wrote"]), (&json!("patch"), &json!({"x": 2, "y": null})));
        assert_eq!((&shown["policy"], &shown["rule_version"]), (&json!("fields"), &json!(2)));
        assert_eq!((&shown["inputs"], &shown["body"]), (&json!([name(4)]), &json!({"x": 2})));
        let text = text(&[shown]);
        for part in [
            "made on     revision 5: ",
            &name(3),
            "policy      fields",
            "rule        2",
            "why         its author",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_is_put_together_says_why() {
        let reason = |row: &v1::HistoryRow| why(row)["reason"].as_str().map(str::to_owned);
        let expected = format!("its author had not seen {}: put together by fields", name(9));
        assert_eq!(reason(&merged()), Some(expected));
        let conflicts = vec![v1::RowConflict { id: "c1".to_owned(), ..Default::default() }];
        let kept_out = v1::HistoryRow {
            outcome: "conflicted".to_owned(),
            policy: "by_type".to_owned(),
            unseen: Vec::new(),
            conflicts,
            ..merged()
        };
        let expected = "its author had seen what stood: by by_type it is a side of conflict c1";
        assert_eq!(reason(&kept_out).as_deref(), Some(expected));
        assert_eq!(reason(&v1::HistoryRow { outcome: "applied".to_owned(), ..merged() }), None);
    }
}
