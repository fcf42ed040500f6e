//! Whether what a listing is asked for is there at all: a filter that nothing can pass finds nothing, and its asker
//! would take that for an answer.

use semantics::access::EVENT_NAMES;
use semantics::reason::{Reason, Refusal};
use semantics::spelling;

use super::{List, Source};
use crate::rpc::audit::known::OUTCOMES;

/// The help of `--event`.
pub(super) fn events_help() -> String {
    let (outcomes, events) = (OUTCOMES.join(", "), EVENT_NAMES.join(", "));
    format!("Only these, of changes: {outcomes}; of the access log: {events}")
}

/// The help of `--reason`.
pub(super) fn reasons_help() -> String {
    format!("Only those with this reason: {}", reasons().collect::<Vec<_>>().join(", "))
}

fn reasons() -> impl Iterator<Item = &'static str> {
    Reason::ALL.iter().map(|reason| reason.as_str())
}

fn malformed(detail: String) -> Refusal {
    Refusal::new(Reason::Malformed, detail)
}

impl List {
    /// Whether its filters are known and go together.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if let Some(reason) = self.reason.as_deref().filter(|reason| reasons().all(|known| known != *reason))
        {
            let near = spelling::nearest(reason, reasons());
            let detail = format!(
                "--reason: there is no {reason}; did you mean {near}? `hubward audit list --help` lists all"
            );
            return Err(malformed(detail));
        }
        let of = match self.event.as_deref() {
            None => None,
            Some(event) if OUTCOMES.contains(&event) => Some(Source::Commits),
            Some(event) if EVENT_NAMES.contains(&event) => Some(Source::Access),
            Some(event) => {
                let all = [&OUTCOMES[..], &EVENT_NAMES[..]].concat().join(", ");
                return Err(malformed(format!("--event: there is no {event}; there are {all}")));
            }
        };
        let event = self.event.as_deref().unwrap_or_default();
        match (self.source, of) {
            (Some(Source::Commits), Some(Source::Access)) => {
                let detail = format!("--event {event} is of the access log: leave --source commits out");
                return Err(malformed(detail));
            }
            (Some(Source::Access), Some(Source::Commits)) => {
                return Err(malformed(format!("--event {event} is of changes: leave --source access out")));
            }
            _ => {}
        }
        if self.kind.is_some() && (self.source == Some(Source::Access) || of == Some(Source::Access)) {
            return Err(malformed("--kind is of changes: the access log names no kinds".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        list: List,
    }

    fn told(words: &str) -> Result<(), String> {
        let line = Line::try_parse_from(std::iter::once("list").chain(words.split_whitespace())).unwrap();
        line.list.check().map_err(|refusal| refusal.detail)
    }

    #[test]
    fn filters_that_nothing_can_pass_are_refused_and_say_what_there_is() {
        for (words, what) in [
            ("--event aplied", "there are applied, merged"),
            ("--event aplied", "tenant_created"),
            ("--reason PERMISION_DENIED", "did you mean PERMISSION_DENIED?"),
            ("--source commits --event session_opened", "leave --source commits out"),
            ("--source access --event applied", "leave --source access out"),
            ("--source access --kind note", "--kind is of changes"),
            ("--event refused --kind note", "--kind is of changes"),
        ] {
            let detail = told(words).unwrap_err();
            assert!(detail.contains(what), "{words}: {detail}");
        }
    }

    #[test]
    fn filters_that_something_can_pass_are_taken() {
        for words in [
            "",
            "--event rejected --reason SCHEMA_VIOLATION",
            "--source commits --event rejected --reason SCHEMA_VIOLATION --kind note",
            "--source access --event refused --reason PERMISSION_DENIED",
            "--kind note",
        ] {
            told(words).unwrap();
        }
    }
}
