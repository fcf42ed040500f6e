//! What the environment asks of a run. What does not read is refused, so that no run tells of another than was asked for.
#![allow(clippy::panic, reason = "a test that was asked for nonsense has failed")]

fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|said| !said.is_empty())
}

/// A number; `None` where nothing is asked for.
///
/// # Panics
/// For anything else.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let said = said(name)?;
    Some(said.parse().unwrap_or_else(|_| panic!("{name}={said}: give a whole number")))
}

/// One of several words; `None` where nothing is asked for.
///
/// # Panics
/// For any other word.
#[must_use]
pub fn one_of<T>(name: &str, words: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let said = said(name)?;
    Some(read(&said).unwrap_or_else(|| panic!("{name}={said}: give one of {words}")))
}
