//! `hubward consensus`: which of several states of one identity would win.

use std::path::PathBuf;

use clap::Subcommand;
use semantics::identity::consensus::{Candidate, weigh};
use semantics::reason::{Reason, Refusal};
use serde::Deserialize;
use serde_json::{Map, json};

use super::output::Printer;

#[derive(Debug, Subcommand)]
pub(super) enum ConsensusCommand {
    /// Weighs candidates: 0.4 × min(1, stability / 4) + 0.3 × health + 0.2 × recency + 0.1 × priority.
    Weigh {
        /// JSON: {"candidates":[{"id","stability","health","recency","priority"}]}, stability being the score Is.
        file: PathBuf,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Candidates {
    candidates: Vec<Candidate>,
}

pub(super) fn run(command: &ConsensusCommand, printer: Printer) -> Result<(), Refusal> {
    let ConsensusCommand::Weigh { file } = command;
    let malformed = |what: String| Refusal::new(Reason::Malformed, format!("{}: {what}", file.display()));
    let bytes = super::operate::file(file)?;
    let given: Candidates = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    let weights = weigh(&given.candidates)?;
    let winner = weights.first().map(|weight| weight.id.clone());
    let scores: Map<_, _> = weights.into_iter().map(|weight| (weight.id, json!(weight.score))).collect();
    printer.object(&json!({"winner": winner, "scores": scores}));
    Ok(())
}
