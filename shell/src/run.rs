//! From the process to its command, and what `config check` and `config print` answer.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use crate::answer;
use crate::arguments::{Parsed, Stop};
use crate::settings::Program;
use crate::sources::{Resolved, Variables};

impl Program {
    /// Runs the command that the process was started with, or says why there is none.
    #[must_use]
    pub fn start<C: Parser>(&self, run: impl FnOnce(Parsed<C>) -> ExitCode) -> ExitCode {
        let words: Vec<OsString> = std::env::args_os().collect();
        let variables = match Variables::of_process(self) {
            Ok(variables) => variables,
            Err(refusal) => {
                let as_json = self.wants_json(&words, &Variables::default());
                return answer::stop(&Stop::Refused(refusal), as_json);
            }
        };
        let as_json = self.wants_json(&words, &variables);
        match self.parse::<C>(&words, variables) {
            Ok(parsed) => run(parsed),
            Err(stop) => answer::stop(&stop, as_json),
        }
    }
}

impl Resolved {
    /// What `config check` answers.
    #[must_use]
    pub fn checked(&self) -> Value {
        json!({"valid": true, "file": self.file(), "notes": self.notes()})
    }

    /// What `config print` answers.
    #[must_use]
    pub fn printed(&self) -> Value {
        json!({"file": self.file(), "settings": self.rows(), "notes": self.notes()})
    }

    /// The same for people.
    #[must_use]
    pub fn table(&self) -> String {
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            Value::Array(parts) if parts.is_empty() => "-".to_owned(),
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let mut rows = vec![["SETTING", "VALUE", "FROM"].map(ToOwned::to_owned)];
        rows.extend(
            self.rows().iter().map(|row| [plain(&row["key"]), plain(&row["value"]), plain(&row["named"])]),
        );
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let (keys, values) = (width(0), width(1));
        let lines = rows.iter().map(|[key, value, from]| format!("{key:keys$}  {value:values$}  {from}"));
        let notes = self.notes().iter().map(|note| format!("note: {note}"));
        lines.chain(notes).collect::<Vec<_>>().join("\n")
    }
}

/// What to do with the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Config {
    /// Checks the settings without using them: flags, variables, file, and that secrets can be read.
    Check,
    /// Shows every setting and where its value comes from; secrets are not shown.
    Print,
}
