//! How a command says why it failed: one line, or one JSON object.

use std::io::Write;
use std::process::ExitCode;

use semantics::reason::Refusal;
use serde_json::{Value, json};

use crate::arguments::Stop;
use crate::usage;

/// A refusal as a line for people: what, why, and what to do.
#[must_use]
pub fn line(refusal: &Refusal) -> String {
    advised(refusal, refusal.reason.remedy())
}

/// A refusal as an object: `{"error": {"reason", "class", "detail", "remedy", "transient"}}`.
#[must_use]
pub fn object(refusal: &Refusal) -> Value {
    advised_object(refusal, refusal.reason.remedy())
}

/// Prints what there is to say instead of a command, and gives the exit code.
#[must_use]
pub fn stop(stop: &Stop, as_json: bool) -> ExitCode {
    match stop {
        Stop::Said(text) => {
            // Nobody is left to tell when stdout is closed.
            drop(write!(std::io::stdout(), "{text}"));
            ExitCode::SUCCESS
        }
        Stop::Help(text) if !as_json => {
            drop(write!(std::io::stderr(), "{text}"));
            ExitCode::from(usage::EXIT_CODE)
        }
        Stop::Help(_) => {
            let reason = semantics::reason::Reason::Malformed;
            let refusal = Refusal::new(reason, "there is no command");
            say(&refusal, "name a command; see --help", as_json);
            ExitCode::from(usage::EXIT_CODE)
        }
        Stop::Misuse(misuse) => {
            say(&misuse.refusal, &misuse.remedy, as_json);
            ExitCode::from(usage::EXIT_CODE)
        }
        Stop::Refused(refusal) => {
            say(refusal, refusal.reason.remedy(), as_json);
            ExitCode::from(refusal.reason.class().exit_code())
        }
    }
}

fn say(refusal: &Refusal, remedy: &str, as_json: bool) {
    let text = if as_json { advised_object(refusal, remedy).to_string() } else { advised(refusal, remedy) };
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn advised(refusal: &Refusal, remedy: &str) -> String {
    // Somebody else's text must not look like lines of ours.
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let detail: String = refusal.detail.chars().map(plain).collect();
    format!("error: {}: {detail}; what to do: {remedy}", refusal.reason.as_str())
}

fn advised_object(refusal: &Refusal, remedy: &str) -> Value {
    json!({"error": {
        "reason": refusal.reason.as_str(),
        "class": refusal.reason.class().as_str(),
        "detail": refusal.detail,
        "remedy": remedy,
        "transient": refusal.reason.is_transient(),
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use semantics::reason::Reason;

    #[test]
    fn a_refusal_is_one_line() {
        let refusal = Refusal::new(Reason::Malformed, "a\nb\u{1b}[2J");
        let text = line(&refusal);
        assert_eq!(
            text,
            "error: MALFORMED: a\\nb\\u{1b}[2J; what to do: fix the field that the detail names"
        );
    }
}
