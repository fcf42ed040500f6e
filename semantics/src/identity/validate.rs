//! One report of everything that is wrong with an identity document, each with its path.

use std::collections::BTreeSet;

use serde_json::Value;

use super::profile::{self, Variant};
use super::score::is_misstated;
use super::shape;
use super::snapshot::{Form, Problem, Reading, state_hash};
use crate::schema::CompiledSchema;

/// Most problems that one report lists.
pub const PROBLEMS_MAX: usize = 100;
/// Where a snapshot states its hash.
pub const HASH_PATH: &str = "/sync_metadata/state_hash";
/// How far the scores of two systems that are one identity may be apart.
pub const SCORE_APART_MAX: f64 = 0.1;

/// Everything that is wrong with a snapshot, a profile or a measurement, in the order of the paths, at most
/// [`PROBLEMS_MAX`]; empty = nothing.
#[must_use]
pub fn validate(document: &Value) -> Vec<Problem> {
    let mut found = match Form::of(document) {
        Some(form @ Form::Snapshot) => {
            let mut found = shaped(&shape::SNAPSHOT, document, "");
            found.extend(hashed(document));
            found.extend(scored(form, document));
            found.extend(profiled(document));
            found.extend(coherent(document));
            found
        }
        Some(form @ Form::Measurement) => {
            let mut found = shaped(&shape::MEASUREMENT, document, "");
            found.extend(scored(form, document));
            found.extend(measured(document));
            found
        }
        None if document.get("identity_profile").is_some() => profiled(document),
        None => {
            let roots = "give a document with identity_snapshot, identity_profile or stability_measurement";
            vec![Problem::new("", roots)]
        }
    };
    found.sort();
    // What its shape and its meaning say about one place is one problem.
    found.dedup_by(|next, kept| next.path == kept.path);
    found.truncate(PROBLEMS_MAX);
    found
}

/// What a state says of itself and does not hold: its parameters where they cannot be read, and of a snapshot its
/// `state_hash`, or its score by more than the tolerance. One that says none of them says nothing that could be wrong.
#[must_use]
pub fn disproved(document: &Value) -> Option<Problem> {
    let form = Form::of(document)?;
    let is_snapshot = form == Form::Snapshot;
    let hashed = if is_snapshot { hashed(document) } else { None };
    hashed.or_else(|| match form.read(document) {
        Ok(reading) => misstated(&reading).filter(|_| is_snapshot),
        Err(problems) => problems.into_iter().next().filter(|_| form.says_parameters(document)),
    })
}

fn shaped(schema: &CompiledSchema, part: &Value, at: &str) -> Vec<Problem> {
    let violations = schema.violations(part, PROBLEMS_MAX);
    violations.into_iter().map(|(path, reason)| Problem::new(format!("{at}{path}"), reason)).collect()
}

fn hashed(document: &Value) -> Option<Problem> {
    let stated = document.pointer(HASH_PATH)?.as_str()?;
    let stated = stated.strip_prefix("sha256:").unwrap_or(stated);
    match state_hash(document.get("identity_snapshot")?) {
        Ok(hash) if hash.to_string().eq_ignore_ascii_case(stated) => None,
        Ok(hash) => Some(Problem::new(HASH_PATH, format!("the snapshot hashes to {hash}"))),
        Err(refusal) => Some(Problem::new("/identity_snapshot", refusal.detail)),
    }
}

fn scored(form: Form, document: &Value) -> Vec<Problem> {
    let reading = match form.read(document) {
        Ok(reading) => reading,
        Err(problems) => return problems,
    };
    misstated(&reading).into_iter().collect()
}

fn misstated(reading: &Reading) -> Option<Problem> {
    let stated = reading.stated.filter(|stated| is_misstated(*stated, &reading.parameters))?;
    let p = reading.parameters;
    let (d, c, r, score) = (p.depth, p.retention, p.coherence, p.score());
    let reason = format!("{stated} is stated, D × C × R = {d} × {c} × {r} is {score}");
    Some(Problem::new(reading.stated_path, reason))
}

/// A measurement also states what its score means.
fn measured(document: &Value) -> Option<Problem> {
    const PATH: &str = "/stability_measurement/stability_score/status";
    let reading = Form::Measurement.read(document).ok()?;
    let stated = document.pointer(PATH)?.as_str()?;
    let status = reading.thresholds.status(reading.parameters.score()).as_str();
    (status != stated)
        .then(|| Problem::new(PATH, format!("a score of {} is {status}", reading.parameters.score())))
}

fn profiled(document: &Value) -> Vec<Problem> {
    let Some((at, profile)) = profile::located(document) else { return Vec::new() };
    let schema = match Variant::of(profile) {
        Some(Variant::Nested) => &shape::NESTED,
        Some(Variant::Flat) => &shape::FLAT,
        None => return vec![Problem::new(at, "a profile has metadata, or a name of its own")],
    };
    let mut found = shaped(schema, profile, at);
    let thresholds = profile::thresholds(profile);
    if !thresholds.is_ordered() {
        let reason = format!(
            "thresholds out of order: collapse {} ≤ critical {} ≤ warning {} must hold",
            thresholds.collapse, thresholds.alert, thresholds.warning
        );
        found.push(Problem::new(at, reason));
    }
    found
}

/// What a snapshot's behaviour says twice, or in an impossible order.
fn coherent(document: &Value) -> Vec<Problem> {
    const STATE: &str = "/identity_snapshot/behavioral_state";
    let mut found = Vec::new();
    for name in ["active_patterns", "consistency_markers"] {
        let path = format!("{STATE}/{name}");
        let mut seen = BTreeSet::new();
        let list = document.pointer(&path).and_then(Value::as_array).into_iter().flatten();
        for (at, entry) in list.enumerate() {
            if !seen.insert(entry.to_string()) {
                found.push(Problem::new(format!("{path}/{at}"), "the same is in the list before"));
            }
        }
    }
    let path = format!("{STATE}/adaptation_history");
    let times: Vec<(usize, &str)> = document
        .pointer(&path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(at, entry)| Some((at, entry.get("timestamp")?.as_str()?)))
        .filter(|(_, time)| time.ends_with(['Z', 'z']))
        .collect();
    for pair in times.windows(2) {
        if let [(_, earlier), (at, later)] = pair
            && later < earlier
        {
            found.push(Problem::new(
                format!("{path}/{at}/timestamp"),
                format!("before {earlier}, which stands above it"),
            ));
        }
    }
    found
}

/// What keeps two snapshots from being one identity on two systems: scores more than [`SCORE_APART_MAX`] apart,
/// other core traits, context without a common relationship or anchor, other active patterns. Paths are those of
/// the second.
#[must_use]
pub fn across(first: &Value, second: &Value) -> Vec<Problem> {
    const CONTEXT: &str = "/identity_snapshot/context_state";
    const PATTERNS: &str = "/identity_snapshot/behavioral_state/active_patterns";
    let mut found = Vec::new();
    let score = |document| Form::Snapshot.read(document).map(|Reading { parameters, .. }| parameters.score());
    match (score(first), score(second)) {
        (Ok(a), Ok(b)) if super::rounded((a - b).abs()) <= SCORE_APART_MAX => {}
        (Ok(a), Ok(b)) => {
            let reason = format!("scores {a} and {b} are more than {SCORE_APART_MAX} apart");
            found.push(Problem::new("/identity_snapshot/stability_metrics/current_is_score", reason));
        }
        (Err(problems), _) | (_, Err(problems)) => found.extend(problems),
    }
    let traits = |document| profile::of_document(document).map(profile::traits).unwrap_or_default();
    for (what, value) in traits(first).symmetric_difference(&traits(second)) {
        found.push(Problem::new(
            "/identity_snapshot/core_identity",
            format!("only one has the {what} {value:?}"),
        ));
    }
    for name in ["key_relationships", "temporal_anchors"] {
        let path = format!("{CONTEXT}/{name}");
        let (a, b) = (entries(first, &path), entries(second, &path));
        if !a.is_empty() && !b.is_empty() && a.is_disjoint(&b) {
            found.push(Problem::new(path, "the two have nothing in common"));
        }
    }
    let (a, b) = (entries(first, PATTERNS), entries(second, PATTERNS));
    found.extend(
        a.symmetric_difference(&b).map(|only| Problem::new(PATTERNS, format!("only one has {only}"))),
    );
    found.truncate(PROBLEMS_MAX);
    found
}

fn entries(document: &Value, path: &str) -> BTreeSet<String> {
    match document.pointer(path) {
        Some(Value::Array(list)) => list.iter().map(Value::to_string).collect(),
        Some(Value::Object(by_name)) => by_name.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests;
