//! What commands print.

use std::io::Write;

use semantics::reason::Refusal;
use semantics::shown::on_one_line;
use serde_json::{Value, json};

use super::Format;

/// Characters at which a cell of a table is cut, except in columns that name things.
const CELL_CHARS_MAX: usize = 120;
/// Columns that are never cut: people copy them into the next command. What stands there is short by its own bound.
const NAMING_COLUMNS: [&str; 5] = ["id", "name", "kind", "record", "conflict"];

/// Prints answers and errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    pub(super) format: Format,
}

impl Printer {
    /// One object: as JSON, or its fields line by line.
    pub(super) fn object(self, value: &Value) {
        match (self.format, value) {
            (Format::Table, Value::Object(fields)) => {
                let width = fields.keys().map(String::len).max().unwrap_or(0);
                for (name, value) in fields {
                    print(&format!("{name:width$}  {}", plain(value)));
                }
            }
            _ => print(&value.to_string()),
        }
    }

    /// A page of a list: as [`Self::list`], and how to go on.
    pub(super) fn page(
        self,
        name: &str,
        rows: Vec<Value>,
        columns: &[&str],
        next_page_token: Option<String>,
    ) {
        if self.format == Format::Json {
            return print(&json!({ name: rows, "next_page_token": next_page_token }).to_string());
        }
        self.list(name, rows, columns);
        if let Some(token) = next_page_token {
            drop(writeln!(std::io::stderr(), "there is more: the same command with --page-token {token}"));
        }
    }

    /// A list under a name: as JSON, or as a table with these columns.
    pub(super) fn list(self, name: &str, rows: Vec<Value>, columns: &[&str]) {
        if self.format == Format::Json {
            return print(&json!({ name: rows }).to_string());
        }
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| columns.iter().map(|column| cell(column, row.get(column))).collect())
            .collect();
        let width = |at: usize, title: &str| {
            let longest = cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
            longest.unwrap_or(0).max(title.len())
        };
        let widths: Vec<usize> = columns.iter().enumerate().map(|(at, title)| width(at, title)).collect();
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let padded = cells.zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        print(&line(&mut columns.iter().map(|title| title.to_uppercase())));
        for row in &cells {
            print(&line(&mut row.iter().cloned()));
        }
    }

    /// A list under a name: as JSON, or as the text made of it.
    pub(super) fn blocks(self, name: &str, rows: Vec<Value>, text: impl Fn(&[Value]) -> String) {
        match self.format {
            Format::Json => print(&json!({ name: rows }).to_string()),
            Format::Table => print(&text(&rows)),
        }
    }

    /// Text as it is, or under a name as JSON.
    pub(super) fn text(self, name: &str, text: &str) {
        match self.format {
            Format::Json => print(&json!({ name: text }).to_string()),
            Format::Table => print(text.trim_end()),
        }
    }

    /// Why the command failed, and what to do.
    pub(super) fn refused(self, refusal: &Refusal) {
        let reason = refusal.reason;
        let text = match self.format {
            Format::Json => json!({"error": {
                "reason": reason.as_str(),
                "class": reason.class().as_str(),
                "detail": refusal.detail,
                "remedy": reason.remedy(),
                "transient": reason.is_transient(),
            }})
            .to_string(),
            Format::Table => {
                let detail = on_one_line(&refusal.detail);
                format!("error: {}: {detail}; what to do: {}", reason.as_str(), reason.remedy())
            }
        };
        // Nobody is left to tell when stderr is closed.
        drop(writeln!(std::io::stderr(), "{text}"));
    }
}

/// What stands in a cell. Nodes choose ids and bodies, and operators read them beside the hub's own words.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => on_one_line(text),
        Value::Null => String::new(),
        other => on_one_line(&other.to_string()),
    }
}

/// A value as a table shows it; JSON shows it whole.
fn cell(column: &str, value: Option<&Value>) -> String {
    let text = value.map_or(String::new(), plain);
    if NAMING_COLUMNS.contains(&column) || text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

fn print(line: &str) {
    // A reader that has gone away, as `head` does, wants no more.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// A line for people.
pub(super) fn line(text: &str) {
    print(text);
}

/// Bytes as they are.
pub(super) fn raw(bytes: &[u8]) {
    drop(std::io::stdout().write_all(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_named_neither_begins_a_line_nor_reaches_the_terminal() {
        assert_eq!(plain(&json!("x\n1  operator/hub/first\u{1b}[2J")), r"x\n1  operator/hub/first\u{1b}[2J");
        assert_eq!(plain(&json!({"t": "\u{9b}1m"})), r#"{"t":"\u{9b}1m"}"#);
        assert_eq!(plain(&Value::Null), "");
    }

    #[test]
    fn what_a_row_holds_is_cut_and_what_names_it_is_not() {
        let long = json!("x".repeat(70_000));
        let cut = cell("body", Some(&long));
        assert_eq!((cut.chars().count(), cut.chars().last()), (CELL_CHARS_MAX, Some('…')));
        assert_eq!(cell("id", Some(&json!("x".repeat(512)))).len(), 512);
        assert_eq!(cell("body", Some(&json!({"t": 1}))), r#"{"t":1}"#);
        assert_eq!(cell("body", None), "");
    }
}
