//! How results and errors are printed.

use std::io::{self, Write};
use std::process::ExitCode;

use proto::v1;
use semantics::reason::Refusal;
use semantics::shown::on_one_line;
use serde_json::{Map, Value, json};

use super::args::Output;
use crate::daemon::refusal_json;

/// Longest cell of a table, characters; but for those that name what the row is about.
const CELL_CHARS_MAX: usize = 60;

/// Columns that are never cut: people copy them into the next command.
const NAMING_COLUMNS: [&str; 4] = ["id", "mutation", "record", "conflict"];

/// Columns that come first, where there are such.
const FIRST_COLUMNS: [&str; 10] =
    ["setting", "value", "mutation", "kind", "id", "record", "branch", "state", "revision", "body"];

/// Prints in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    output: Output,
}

impl Printer {
    pub(super) fn new(output: Output) -> Self {
        Self { output }
    }

    /// Whether scripts read it.
    pub(super) fn is_json(self) -> bool {
        self.output == Output::Json
    }

    /// A result.
    pub(super) fn show(self, value: &Value) -> Result<(), Refusal> {
        match self.output {
            Output::Json => line(&value.to_string()),
            Output::Table => line(table(value).trim_end()),
        }
    }

    /// An error, to standard error; gives the exit code of its class.
    pub(super) fn refuse(self, refusal: &Refusal) -> ExitCode {
        let text = match self.output {
            Output::Json => json!({"error": refusal_json(refusal)}).to_string(),
            Output::Table => {
                let reason = refusal.reason;
                let detail = on_one_line(&refusal.detail);
                format!("error: {}: {detail}; what to do: {}", reason.as_str(), reason.remedy())
            }
        };
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(refusal.reason.class().exit_code())
    }
}

/// One line on standard output. Nobody reading it any more ends the command quietly.
pub(super) fn line(text: &str) -> Result<(), Refusal> {
    raw(format!("{text}\n").as_bytes())
}

/// Bytes on standard output.
pub(super) fn raw(bytes: &[u8]) -> Result<(), Refusal> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            let detail = format!("standard output: {error}");
            Err(Refusal::new(semantics::reason::Reason::StoreFull, detail))
        }
        Ok(()) => Ok(()),
    }
}

/// A note on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A record as JSON.
pub(super) fn record(view: &v1::RecordView) -> Map<String, Value> {
    let mut shown = Map::new();
    if let Some(key) = &view.key {
        shown.insert("kind".to_owned(), json!(key.kind));
        shown.insert("id".to_owned(), json!(key.id));
    }
    shown.insert("revision".to_owned(), json!(view.revision));
    let dots = view.version.iter().flat_map(|version| &version.dots);
    let version: Map<String, Value> = dots
        .filter_map(|dot| dot.writer.as_ref().map(|writer| (writer, dot.n)))
        .map(|(writer, n)| (format!("{}.{}", hex::encode(&writer.node), writer.epoch), json!(n)))
        .collect();
    shown.insert("version".to_owned(), Value::Object(version));
    if view.deleted {
        shown.insert("deleted".to_owned(), json!(true));
    } else {
        let body = serde_json::from_slice(&view.body).unwrap_or_else(|_| json!(hex::encode(&view.body)));
        shown.insert("body".to_owned(), body);
    }
    if let Some(placement) = &view.placement {
        shown.insert("domain".to_owned(), json!(placement.domain));
        if let Some(subject) = &placement.subject {
            shown.insert("subject".to_owned(), json!(subject));
        }
    }
    shown.insert("pending".to_owned(), json!(view.pending));
    shown
}

/// For people: an object of one list as a table, anything else as lines of name and value.
fn table(value: &Value) -> String {
    let Value::Object(object) = value else { return cell(value) };
    let list = object.values().find_map(Value::as_array).filter(|_| object.len() == 1);
    match list {
        Some(rows) if rows.is_empty() => "none".to_owned(),
        Some(rows) => rows_table(rows),
        None => {
            let width = object.keys().map(String::len).max().unwrap_or(0);
            let line = |(name, value): (&String, &Value)| format!("{name:width$}  {}\n", cell(value));
            object.iter().map(line).collect()
        }
    }
}

fn rows_table(rows: &[Value]) -> String {
    let mut names: Vec<&String> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        names.extend(row.keys().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    }
    names.sort_by_key(|name| FIRST_COLUMNS.iter().position(|first| first == name).unwrap_or(usize::MAX));
    let cells =
        |row: &Value| names.iter().map(|name| short(name, row.get(name.as_str()))).collect::<Vec<_>>();
    let mut lines: Vec<Vec<String>> = vec![names.iter().map(|name| name.to_uppercase()).collect()];
    lines.extend(rows.iter().map(cells));
    let widths: Vec<usize> = (0..names.len())
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|c| c.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let pad = |line: &Vec<String>| {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    lines.iter().map(pad).collect()
}

fn short(name: &str, value: Option<&Value>) -> String {
    let text = value.map(cell).unwrap_or_default();
    if NAMING_COLUMNS.contains(&name) || text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        other => on_one_line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_becomes_a_table_with_a_column_for_every_name() {
        let value = json!({"records": [{"id": "a", "n": 1}, {"id": "bb", "x": null}]});
        assert_eq!(table(&value), "ID  N  X\na   1\nbb     -\n");
        assert_eq!(table(&json!({"records": []})), "none");
    }

    #[test]
    fn what_a_row_is_about_is_told_whole_and_what_it_holds_is_cut() {
        let (id, body) = ("f".repeat(64), "x".repeat(64));
        let shown = table(&json!({"conflicts": [{"id": id, "body": body}]}));
        assert!(shown.contains(&id), "{shown}");
        assert!(shown.ends_with("xx…\n"), "{shown}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2J")), "a\\u{1b}[2J");
        assert_eq!(cell(&json!({"t": "\u{9b}2J"})), "{\"t\":\"\\u{9b}2J\"}");
    }
}
