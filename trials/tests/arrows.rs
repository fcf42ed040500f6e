//! Which crate may point at which: the arrows between the members of the workspace.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

/// From each member to the members it may depend on, in any way, tests included.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("semantics", &[]),
    ("proto", &["semantics"]),
    ("gateway", &["semantics", "proto"]),
    ("spoke", &["semantics", "proto"]),
    ("trials", &["semantics", "proto", "gateway", "spoke"]),
];

/// The crate of pure rules, and what would bring it a clock, randomness or input and output.
const PURE: &str = "semantics";
const IMPURE: [&str; 5] = ["tokio", "sqlx", "tonic", "rand", "getrandom"];

/// One dependency as a member's manifest declares it.
struct Arrow {
    from: String,
    to: String,
    for_tests: bool,
}

fn text(value: &Value, field: &str) -> Result<String, String> {
    let text = value[field].as_str();
    let text = text.ok_or_else(|| format!("cargo metadata has no `{field}` in {value}"))?;
    Ok(text.to_owned())
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, String> {
    let list = value[field].as_array();
    list.ok_or_else(|| format!("cargo metadata has no list `{field}`"))
}

/// The members of the workspace and all that they depend on.
fn read(metadata: &Value) -> Result<(BTreeSet<String>, Vec<Arrow>), String> {
    let mut members = BTreeSet::new();
    let mut arrows = Vec::new();
    for package in list(metadata, "packages")? {
        let from = text(package, "name")?;
        for dependency in list(package, "dependencies")? {
            arrows.push(Arrow {
                from: from.clone(),
                to: text(dependency, "name")?,
                for_tests: dependency["kind"] == "dev",
            });
        }
        members.insert(from);
    }
    Ok((members, arrows))
}

/// A sentence for each arrow that breaks the rule.
fn complaints(metadata: &Value) -> Result<Vec<String>, String> {
    let (members, arrows) = read(metadata)?;
    let mut complaints = Vec::new();
    for member in &members {
        if !ALLOWED.iter().any(|(name, _)| name == member) {
            complaints.push(format!("{member} is a new crate: say in ALLOWED where it may point"));
        }
    }
    for Arrow { from, to, for_tests } in &arrows {
        let allowed = ALLOWED.iter().any(|(name, targets)| name == from && targets.contains(&to.as_str()));
        if members.contains(to) && !allowed {
            complaints.push(format!(
                "{from} must not depend on {to}: move what they share to semantics or proto, or the test to trials"
            ));
        }
        if from == PURE && !for_tests && IMPURE.contains(&to.as_str()) {
            complaints.push(format!(
                "{from} must not depend on {to}: its rules are pure, pass the value in instead"
            ));
        }
    }
    Ok(complaints)
}

fn metadata_of_this_workspace() -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(trials::tree::root())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`cargo metadata` failed: {complaint}"));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("`cargo metadata` did not answer with JSON: {error}"))
}

/// Metadata of a workspace with every member and, besides what is given, no dependency.
fn made_up(from: &str, to: &str, kind: &Value) -> Value {
    let packages: Vec<Value> = ALLOWED
        .iter()
        .map(|(name, _)| {
            let dependencies = match *name == from {
                true => json!([{ "name": to, "kind": kind }]),
                false => json!([]),
            };
            json!({ "name": name, "dependencies": dependencies })
        })
        .collect();
    json!({ "packages": packages })
}

#[test]
fn crates_point_only_along_the_allowed_arrows() {
    let metadata = metadata_of_this_workspace().unwrap();
    let (members, _) = read(&metadata).unwrap();
    assert_eq!(members.len(), ALLOWED.len(), "members found: {members:?}");
    let complaints = complaints(&metadata).unwrap();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn an_added_arrow_is_named() {
    for kind in [json!(null), json!("dev"), json!("build")] {
        let found = complaints(&made_up("gateway", "spoke", &kind)).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("gateway must not depend on spoke"), "{found:?}");
    }
}

#[test]
fn every_pair_of_crates_is_allowed_or_named() {
    for (from, targets) in ALLOWED {
        for (to, _) in ALLOWED {
            let found = complaints(&made_up(from, to, &json!(null))).unwrap();
            assert_eq!(found.is_empty(), targets.contains(&to), "{from} to {to}: {found:?}");
        }
    }
}

#[test]
fn semantics_may_use_what_is_impure_in_tests_only() {
    for library in IMPURE {
        let normal = complaints(&made_up(PURE, library, &json!(null))).unwrap();
        assert_eq!(normal.len(), 1, "{normal:?}");
        assert!(complaints(&made_up(PURE, library, &json!("dev"))).unwrap().is_empty());
    }
    assert!(complaints(&made_up(PURE, "serde", &json!(null))).unwrap().is_empty());
}

#[test]
fn a_new_crate_has_to_be_given_its_arrows() {
    let metadata = json!({ "packages": [{ "name": "adapters", "dependencies": [] }] });
    let found = complaints(&metadata).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("adapters is a new crate"), "{found:?}");
}
