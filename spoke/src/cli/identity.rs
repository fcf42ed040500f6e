//! `spoke identity`: its commands, and those that judge documents as they stand in a file.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use semantics::identity::snapshot::{Form, Problem, Reading};
use semantics::identity::{trend, validate};
use semantics::reason::{Reason, Refusal};
use serde_json::{Value, json};

use super::print::Printer;

/// Largest file of documents, bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum IdentityCommand {
    /// Compute the stability score D × C × R beside the one that is stated.
    Score {
        /// A snapshot or a measurement (JSON); several, oldest first, give the trend of the last ten.
        file: PathBuf,
    },
    /// List everything that is wrong with a document, each with its path; exit code 3 when something is.
    Validate {
        /// A snapshot, a profile or a measurement (JSON).
        file: PathBuf,
        /// A snapshot of the same identity on another system: also list what keeps the two from being one.
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Print an identity's state as it stands here: canonical JSON, byte for byte what every replica holds.
    Export {
        /// Its id.
        id: String,
    },
    /// Take a state: a snapshot, or a profile with sections or flat. What is wrong with it is told and taken, but for a
    /// state that does not hash to what it says.
    Import {
        /// The document (JSON).
        file: PathBuf,
        /// Whose it is; else the document's system_id, or the name in its profile.
        #[arg(long)]
        id: Option<String>,
    },
    /// Tell that an agent had one more interaction, with the state in which it left the agent. A running daemon holds the
    /// state until it is due; without one it is taken at once.
    Interact {
        /// The document (JSON).
        file: PathBuf,
        /// Whose it is; else the document's system_id, or the name in its profile.
        #[arg(long)]
        id: Option<String>,
        /// That the agent has begun anew.
        #[arg(long)]
        restarted: bool,
    },
    /// Print states as they become visible here, one JSON object a line, with what the change is and how soon others
    /// should have it. Without a running daemon it also syncs.
    Watch {
        /// Only this identity.
        id: Option<String>,
        /// Only changes after this position, as printed before.
        #[arg(long, value_name = "POSITION")]
        after: Option<u64>,
    },
    /// Put the last healthy state of the hub's history back, as a new write.
    Rollback {
        /// Its id.
        id: String,
        /// The state of this revision instead, whatever its score.
        #[arg(long, value_name = "REVISION")]
        to: Option<u64>,
    },
}

pub(super) fn score(file: &Path, printer: Printer) -> Result<(), Refusal> {
    let readings: Vec<Reading> = documents(file)?.iter().map(read).collect::<Result<_, _>>()?;
    let latest = readings.last().ok_or_else(|| malformed(file, "there is no document"))?;
    let scores: Vec<f64> = readings.iter().map(|reading| reading.parameters.score()).collect();
    let score = latest.parameters.score();
    printer.show(&json!({
        "score": score,
        "stated": latest.stated,
        "status": latest.thresholds.status(score).as_str(),
        "trend": trend::of(&scores).or(latest.stated_trend).map(trend::Trend::as_str),
    }))
}

fn read(document: &Value) -> Result<Reading, Refusal> {
    let form = Form::of(document).ok_or_else(|| {
        Refusal::new(
            Reason::Malformed,
            "no score: give a document with identity_snapshot or stability_measurement",
        )
    })?;
    form.read(document).map_err(|problems| {
        let first = problems.into_iter().next();
        let detail = first.map(|Problem { path, reason }| format!("{path}: {reason}")).unwrap_or_default();
        Refusal::new(Reason::Malformed, detail)
    })
}

pub(super) fn validate(file: &Path, against: Option<&Path>, printer: Printer) -> Result<(), Refusal> {
    let document = document(file)?;
    let mut problems = validate::validate(&document);
    if let Some(other) = against {
        problems.extend(validate::across(&self::document(other)?, &document));
        problems.truncate(validate::PROBLEMS_MAX);
    }
    printer.show(&json!({"valid": problems.is_empty(), "problems": problems}))?;
    match problems.len() {
        0 => Ok(()),
        count => Err(malformed(file, &format!("{count} problems"))),
    }
}

/// The one document of a file.
pub(super) fn document(file: &Path) -> Result<Value, Refusal> {
    match <[Value; 1]>::try_from(documents(file)?) {
        Ok([document]) => Ok(document),
        Err(found) => Err(malformed(file, &format!("it holds {} documents, give one", found.len()))),
    }
}

/// The documents of a file: one, an array of them, or one after the other (JSON Lines).
pub(super) fn documents(file: &Path) -> Result<Vec<Value>, Refusal> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|e| malformed(file, &e.to_string()))?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| malformed(file, &e.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        let detail = format!("{} is larger than {FILE_BYTES_MAX} bytes", file.display());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let all: Vec<Value> = serde_json::Deserializer::from_slice(bytes)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|e| malformed(file, &format!("not JSON: {e}")))?;
    Ok(match <[Value; 1]>::try_from(all) {
        Ok([Value::Array(list)]) => list,
        Ok([document]) => vec![document],
        Err(all) => all,
    })
}

pub(super) fn malformed(file: &Path, what: &str) -> Refusal {
    Refusal::new(Reason::Malformed, format!("{}: {what}", file.display()))
}
