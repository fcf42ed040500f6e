//! What is logged, as a variable says it: a level, or levels by module.

use crate::reason::{Reason, Refusal};
use crate::shown;

/// The levels, from nothing to everything.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What is logged where nobody says.
pub const DEFAULT: &str = "info";

/// What the variable `name` asks for; [`DEFAULT`] where it says nothing.
///
/// # Errors
/// MALFORMED, naming the variable, for anything but levels and MODULE=LEVEL, separated by commas.
pub fn asked<'a>(name: &str, text: Option<&'a str>) -> Result<&'a str, Refusal> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(DEFAULT) };
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_of_module = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    let is_module = |word: &str| !word.is_empty() && word.chars().all(is_of_module);
    let is_fine = |part: &str| match part.split_once('=') {
        None => is_level(part),
        Some((module, level)) => is_module(module) && is_level(level),
    };
    match text.split(',').map(str::trim).find(|part| !is_fine(part)) {
        None => Ok(text),
        Some(part) => {
            let (part, levels) = (shown::on_one_line(part), LEVELS.join(", "));
            let detail = format!(
                "{name}: \"{part}\" is no level: give one of {levels}, or MODULE=LEVEL, separated by commas"
            );
            Err(Refusal::new(Reason::Malformed, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_levels_by_module_are_taken_and_nothing_else() {
        for fine in ["info", "WARN", "info,gateway=debug", "off, sqlx::query=trace", "gateway=debug"] {
            assert_eq!(asked("HUBWARD_LOG", Some(fine)), Ok(fine));
        }
        for silent in [None, Some(""), Some(" ")] {
            assert_eq!(asked("HUBWARD_LOG", silent), Ok(DEFAULT));
        }
        for odd in
            ["foo=bar=baz", "verbose", "info,,warn", "gateway=", "=info", "gateway[x]=info", "5", "a b"]
        {
            let refusal = asked("HUBWARD_LOG", Some(odd)).unwrap_err();
            assert_eq!(refusal.reason, Reason::Malformed);
            assert!(refusal.detail.starts_with("HUBWARD_LOG: "), "{odd}: {refusal}");
        }
    }
}
