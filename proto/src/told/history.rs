//! Rows of a record's history as both command lines print them: who wrote what, when, against which version, and why the
//! record looks as it does.
//!
//! - `a_row_says_what_was_written_on_what_and_what_the_hub_made_of_it`.
//! - `what_is_put_together_says_why`.
//! - `a_side_says_what_stands_and_what_became_of_its_conflict`.

use std::fmt::Write as _;

use semantics::identity::summary::is_unreadable;
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
    let conflict = |found: &v1::RowConflict| {
        json!({
            "id": found.id,
            "path": found.path,
            "type": found.r#type,
            "stands": found.stands.as_ref().map(dot_text),
            "kept_out": found.kept_out,
            "open": found.open,
            "settlement": found.settlement.as_ref().map(settlement),
        })
    };
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
    let conflict = row.conflicts.first();
    let reason = match (row.outcome.as_str(), conflict) {
        ("merged", _) => format!("{had}: put together by {by}"),
        ("conflicted", Some(conflict)) => format!("{had}: by {by} it is a side of {}", side(row, conflict)),
        ("conflicted", None) => format!("{had}: by {by} it is a side of a conflict"),
        _ => return Value::Null,
    };
    let conflict = conflict.map(|conflict| conflict.id.as_str());
    json!({"what": row.outcome, "conflict": conflict, "policy": row.policy, "unseen": unseen, "reason": reason})
}

/// What stands beside a side, and what became of its conflict.
fn side(row: &v1::HistoryRow, conflict: &v1::RowConflict) -> String {
    let own = row.mutation.as_ref().and_then(|mutation| mutation.dot.as_ref());
    let is_unread = row.mutation.as_ref().is_some_and(|mutation| is_unreadable(&written(mutation).1));
    let stands = match &conflict.stands {
        Some(_) if conflict.kept_out && is_unread => "it cannot be read and is kept out",
        Some(_) if conflict.kept_out => "it has collapsed and is kept out",
        Some(stands) if Some(stands) == own => "it stood then",
        Some(_) => "another side stood then",
        None => "what stood then is not told",
    };
    let account = conflict.settlement.as_ref().and_then(|settled| Some((settled, settled.account.as_ref()?)));
    let became = match account {
        Some((settled, account)) => {
            let how = if settled.undo { "taken back" } else { "settled" };
            let why =
                if account.reason.is_empty() { String::new() } else { format!(" ({})", account.reason) };
            format!("{how} by {}{why}", account.name)
        }
        None => "nobody has settled it".to_owned(),
    };
    format!("conflict {}: {stands}, and {became}", conflict.id)
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
        let begins = "its author had seen what stood: by by_type it is a side of conflict c1: ";
        assert!(reason(&kept_out).is_some_and(|reason| reason.starts_with(begins)));
        assert_eq!(reason(&v1::HistoryRow { outcome: "applied".to_owned(), ..merged() }), None);
    }

    #[test]
    fn a_side_says_what_stands_and_what_became_of_its_conflict() {
        let told = |conflict: v1::RowConflict| {
            let conflict = v1::RowConflict { id: "c1".to_owned(), ..conflict };
            let row =
                v1::HistoryRow { outcome: "conflicted".to_owned(), conflicts: vec![conflict], ..merged() };
            let told = why(&row)["reason"].as_str().unwrap_or_default().to_owned();
            told.split_once("conflict c1: ").map(|(_, told)| told.to_owned()).unwrap_or_default()
        };
        let stands = |n| v1::RowConflict { stands: Some(dot(n)), open: true, ..Default::default() };
        assert_eq!(told(stands(4)), "it stood then, and nobody has settled it");
        assert_eq!(told(stands(9)), "another side stood then, and nobody has settled it");
        let settlement = |undo, reason: &str| {
            let account = v1::ConflictAccount {
                name: "acme/ann".to_owned(),
                reason: reason.to_owned(),
                ..Default::default()
            };
            Some(v1::Settlement { account: Some(account), undo, ..Default::default() })
        };
        let kept_out = v1::RowConflict { kept_out: true, settlement: settlement(false, "fine"), ..stands(9) };
        assert_eq!(told(kept_out), "it has collapsed and is kept out, and settled by acme/ann (fine)");
        let metrics = json!({"parameter_values": {"D": 0, "C": 0.8, "R": 0.8}});
        let state = json!({"identity_snapshot": {"stability_metrics": metrics}});
        let put = v1::Put { body: state.to_string().into_bytes() };
        let mutation = v1::Mutation { op: Some(v1::mutation::Op::Put(put)), ..Default::default() };
        let conflicts = vec![v1::RowConflict { kept_out: true, ..stands(9) }];
        let outcome = "conflicted".to_owned();
        let row = v1::HistoryRow { outcome, mutation: Some(mutation), conflicts, ..merged() };
        let told_of_it = why(&row)["reason"].as_str().unwrap_or_default().to_owned();
        assert!(
            told_of_it.ends_with("it cannot be read and is kept out, and nobody has settled it"),
            "{told_of_it}"
        );
        let undone = v1::RowConflict { settlement: settlement(true, ""), ..stands(4) };
        assert_eq!(told(undone), "it stood then, and taken back by acme/ann");
    }
}
