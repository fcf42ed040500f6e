//! Command lines that make no command, in one line.

use semantics::reason::{Reason, Refusal};

use crate::settings::Program;

/// A command line that makes no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misuse {
    /// What is wrong: MALFORMED.
    pub refusal: Refusal,
    /// Where the right way stands.
    pub remedy: String,
}

/// Exit code for a command line that makes no command.
pub(crate) const EXIT_CODE: u8 = 2;

/// In one line, what clap says in several.
pub(crate) fn misuse(program: &Program, error: &clap::Error) -> Misuse {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let first: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let detail = [first.join(" ")].into_iter().chain(tips.map(ToOwned::to_owned));
    let detail: Vec<String> = detail.map(|part| part.trim_end_matches('.').to_owned()).collect();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let is_name =
        |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    let command: Vec<&str> = usage.unwrap_or(program.name).split_whitespace().take_while(is_name).collect();
    let command = if command.is_empty() { program.name.to_owned() } else { command.join(" ") };
    Misuse {
        refusal: Refusal::new(Reason::Malformed, detail.join("; ")),
        remedy: format!("see `{command} --help`"),
    }
}
