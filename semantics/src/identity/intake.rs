//! Documents from outside that are to become the state of an identity.
//!
//! - `both_shapes_of_a_profile_are_taken`, alone or as the core of a snapshot; nothing of them is rewritten.
//! - `what_is_no_identity_is_refused`, and so is a snapshot whose `state_hash` is another's: it was damaged on its way.
//! - `everything_else_that_is_wrong_is_reported`, and taken: an identity in trouble has to be kept too.

use serde_json::Value;

use super::profile::{self, Variant};
use super::snapshot::{Form, Problem};
use super::validate::{HASH_PATH, validate};
use crate::reason::{Reason, Refusal};

/// Looks at a document before it is taken; gives what is wrong with it and does not keep it out.
///
/// # Errors
/// `MALFORMED` for what is no snapshot and no profile, and for a snapshot that does not hash to what it states.
pub fn admit(document: &Value) -> Result<Vec<Problem>, Refusal> {
    let is_profile = profile::located(document).is_some_and(|(_, profile)| Variant::of(profile).is_some());
    if Form::of(document) != Some(Form::Snapshot) && !is_profile {
        let detail = "no identity: give a document with identity_snapshot or identity_profile";
        return Err(Refusal::new(Reason::Malformed, detail));
    }
    let problems = validate(document);
    match problems.iter().find(|problem| problem.path == HASH_PATH) {
        Some(Problem { path, reason }) => {
            let detail =
                format!("{path}: {reason}: it was damaged on its way, or changed without a new hash");
            Err(Refusal::new(Reason::Malformed, detail))
        }
        None => Ok(problems),
    }
}

/// What a document calls its identity: the `system_id` of a snapshot, else the name in its profile.
#[must_use]
pub fn name_of(document: &Value) -> Option<&str> {
    let stated = document.pointer("/sync_metadata/system_id").and_then(Value::as_str);
    stated.or_else(|| profile::of_document(document).and_then(profile::name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_shapes_of_a_profile_are_taken() {
        let nested = json!({"metadata": {"name": "Ada", "version": "1.0.0"}, "archetype": "guide"});
        let flat = json!({"name": "Ada", "version": "1.0.0", "archetype": "guide"});
        for profile in [nested, flat] {
            let alone = json!({"identity_profile": profile});
            let core = json!({"identity_snapshot": {"core_identity": profile}});
            for document in [alone, core] {
                assert!(admit(&document).is_ok(), "{document}");
                assert_eq!(name_of(&document), Some("Ada"), "{document}");
            }
        }
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for document in [json!({"text": "hi"}), json!([]), json!({"identity_profile": {"text": "hi"}})] {
            assert_eq!(admit(&document).unwrap_err().reason, Reason::Malformed, "{document}");
        }
        let damaged = json!({"sync_metadata": {"state_hash": "00"}, "identity_snapshot": {}});
        assert!(admit(&damaged).unwrap_err().detail.contains(HASH_PATH));
    }

    #[test]
    fn everything_else_that_is_wrong_is_reported() {
        let metrics = json!({"current_is_score": 3.47, "parameter_values": {"D": 6, "C": 0.78, "R": 0.89}});
        let document = json!({
            "sync_metadata": {"system_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2"},
            "identity_snapshot": {"stability_metrics": metrics},
        });
        let problems = admit(&document).unwrap();
        assert!(problems.iter().any(|problem| problem.path.ends_with("current_is_score")), "{problems:?}");
        assert_eq!(name_of(&document), Some("7d444840-9dc0-11d1-b245-5ffdce74fad2"));
    }
}
