use serde_json::json;

use super::*;

fn snapshot() -> Value {
    let mut document = json!({
        "sync_metadata": {
            "system_id": "0b8f4f3c-5a1c-4b7e-9a51-0d8c1f0a2b3c", "sync_version": "1.0.0",
            "timestamp": "2026-05-01T10:00:00Z", "state_hash": "", "precedence_priority": 0.8,
        },
        "identity_snapshot": {
            "core_identity": {
                "name": "Ada", "version": "1.2.0", "archetype": "guide", "core_values": ["care", "candour"],
            },
            "stability_metrics": {
                "current_is_score": 4.56, "parameter_values": {"D": 6, "C": 0.8, "R": 0.95},
                "degradation_trend": "stable",
            },
            "context_state": {
                "conversation_summary": "a garden", "key_relationships": ["Ben"], "temporal_anchors": ["May"],
            },
            "behavioral_state": {
                "active_patterns": ["asks first"],
                "adaptation_history": [
                    {"timestamp": "2026-04-01T10:00:00Z"}, {"timestamp": "2026-04-02T10:00:00Z"},
                ],
                "consistency_markers": ["tone"],
            },
        },
    });
    seal(&mut document);
    document
}

fn seal(document: &mut Value) {
    let hash = state_hash(&document["identity_snapshot"]).unwrap();
    document["sync_metadata"]["state_hash"] = json!(hash.to_string());
}

/// The paths of what is wrong once `change` is made.
fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut document = snapshot();
    change(&mut document);
    seal(&mut document);
    validate(&document).into_iter().map(|problem| problem.path).collect()
}

#[test]
fn a_sound_snapshot_has_no_problem() {
    assert_eq!(validate(&snapshot()), []);
}

#[test]
fn a_field_that_nobody_knows_is_no_problem_and_is_hashed() {
    let mut document = snapshot();
    document["identity_snapshot"]["mood"] = json!("calm");
    let found = validate(&document);
    assert_eq!(found.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["/sync_metadata/state_hash"]);
    seal(&mut document);
    assert_eq!(validate(&document), []);
}

#[test]
fn the_hash_covers_the_snapshot_alone_and_may_name_its_algorithm() {
    let mut document = snapshot();
    document["sync_metadata"]["precedence_priority"] = json!(0.1);
    let hash = document["sync_metadata"]["state_hash"].as_str().unwrap().to_uppercase();
    document["sync_metadata"]["state_hash"] = json!(format!("sha256:{hash}"));
    assert_eq!(validate(&document), []);
}

#[test]
fn a_stated_score_that_does_not_follow_is_reported_with_the_right_one() {
    let mut document = snapshot();
    let metrics = &mut document["identity_snapshot"]["stability_metrics"];
    metrics["current_is_score"] = json!(3.47);
    metrics["parameter_values"] = json!({"D": 6, "C": 0.78, "R": 0.89});
    seal(&mut document);
    let found = validate(&document);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, "/identity_snapshot/stability_metrics/current_is_score");
    assert!(found[0].reason.contains("3.47") && found[0].reason.contains("4.1652"), "{found:?}");
}

#[test]
fn every_parameter_out_of_range_is_named() {
    let at = |name: &str| format!("/identity_snapshot/stability_metrics/parameter_values/{name}");
    let found = wrong(|d| {
        d["identity_snapshot"]["stability_metrics"]["parameter_values"] =
            json!({"D": 8, "C": 1.1, "R": "high"});
    });
    assert_eq!(found, [at("C"), at("D"), at("R")]);
    let half =
        |d: &mut Value| d["identity_snapshot"]["stability_metrics"]["parameter_values"]["D"] = json!(2.5);
    assert_eq!(wrong(half), [at("D")]);
}

#[test]
fn parameters_that_cannot_be_read_do_not_hold_and_absent_ones_say_nothing() {
    let sound = snapshot();
    assert_eq!(disproved(&sound), None);
    for (name, value) in [("D", json!(0)), ("C", json!(-0.5)), ("D", json!("1")), ("C", json!(null))] {
        let mut document = snapshot();
        document["identity_snapshot"]["stability_metrics"]["parameter_values"][name] = value;
        seal(&mut document);
        assert_eq!(disproved(&document).map(|problem| problem.path.ends_with(name)), Some(true), "{name}");
    }
    let part = |value: Value| json!({"value": value});
    let measured = |depth| {
        let (retention, coherence) = (part(json!(0.9)), part(json!(0.9)));
        json!({"stability_measurement": {"components": {
            "recursive_depth": part(depth), "contextual_retention": retention, "relational_coherence": coherence,
        }}})
    };
    assert!(disproved(&measured(json!(0))).is_some());
    assert_eq!(disproved(&measured(json!(5))), None);
    let mut silent = snapshot();
    silent["identity_snapshot"]["stability_metrics"] = json!({"degradation_trend": "stable"});
    seal(&mut silent);
    assert_eq!(disproved(&silent), None);
}

#[test]
fn metadata_is_checked_field_by_field() {
    let found = wrong(|d| {
        d["sync_metadata"]["system_id"] = json!("laptop");
        d["sync_metadata"]["sync_version"] = json!("1.0");
        d["sync_metadata"]["timestamp"] = json!("2026-05-01 10:00");
        d["sync_metadata"]["precedence_priority"] = json!(2);
    });
    let names = ["precedence_priority", "sync_version", "system_id", "timestamp"];
    assert_eq!(found, names.map(|name| format!("/sync_metadata/{name}")));
}

#[test]
fn behaviour_that_repeats_itself_or_goes_back_in_time_is_named() {
    let state = "/identity_snapshot/behavioral_state";
    let found = wrong(|d| {
        let behaviour = &mut d["identity_snapshot"]["behavioral_state"];
        behaviour["active_patterns"] = json!(["a", "b", "a"]);
        behaviour["adaptation_history"] =
            json!([{"timestamp": "2026-04-02T10:00:00Z"}, {"timestamp": "2026-04-01T10:00:00Z"}]);
    });
    assert_eq!(
        found,
        [format!("{state}/active_patterns/2"), format!("{state}/adaptation_history/1/timestamp")]
    );
}

#[test]
fn thresholds_out_of_order_are_a_problem_of_the_profile() {
    let thresholds = json!({"warning": 1.0, "critical": 2.0});
    let found = wrong(|d| d["identity_snapshot"]["core_identity"]["stability_thresholds"] = thresholds);
    assert_eq!(found, ["/identity_snapshot/core_identity"]);
}

#[test]
fn a_profile_alone_is_checked_in_both_shapes() {
    let flat = json!({"identity_profile": {"name": "Ada", "version": "1.0.0"}});
    assert_eq!(validate(&flat), []);
    let nested =
        json!({"identity_profile": {"metadata": {"name": "Ada", "version": "one"}, "core_values": []}});
    let found: Vec<String> = validate(&nested).into_iter().map(|p| p.path).collect();
    assert_eq!(found, ["/identity_profile", "/identity_profile/metadata/version"]);
}

#[test]
fn a_measurement_states_what_its_score_means() {
    let of = |is_value: f64, status: &str| {
        json!({"stability_measurement": {
            "timestamp": "2026-05-01T10:00:00Z", "session_id": "s", "turn_number": 1,
            "components": {
                "recursive_depth": {"value": 2}, "contextual_retention": {"value": 0.7},
                "relational_coherence": {"value": 0.83},
            },
            "stability_score": {"is_value": is_value, "status": status},
        }})
    };
    assert_eq!(validate(&of(1.16, "critical")), []);
    let score = "/stability_measurement/stability_score";
    let found: Vec<String> = validate(&of(2.16, "stable")).into_iter().map(|p| p.path).collect();
    assert_eq!(found, [format!("{score}/is_value"), format!("{score}/status")]);
}

#[test]
fn what_is_no_identity_document_says_what_would_be_one() {
    for document in [json!({}), json!([1]), json!("x"), json!({"metadata": {}})] {
        let found = validate(&document);
        assert!(found.len() == 1 && found[0].reason.contains("identity_snapshot"), "{found:?}");
    }
}

#[test]
fn two_systems_are_one_identity_or_it_is_said_why_not() {
    let same = snapshot();
    assert_eq!(across(&same, &same), []);
    let mut other = snapshot();
    let state = &mut other["identity_snapshot"];
    state["stability_metrics"]["parameter_values"] = json!({"D": 5, "C": 0.8, "R": 0.95});
    state["core_identity"]["core_values"] = json!(["candour", "speed"]);
    state["context_state"]["key_relationships"] = json!(["Eve"]);
    state["behavioral_state"]["active_patterns"] = json!(["asks first", "jokes"]);
    let found = across(&same, &other);
    let reasons: Vec<&str> = found.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "scores 4.56 and 3.8 are more than 0.1 apart",
            "only one has the core value \"care\"",
            "only one has the core value \"speed\"",
            "the two have nothing in common",
            "only one has \"jokes\"",
        ]
    );
}

#[test]
fn scores_a_tenth_apart_are_still_one() {
    let with = |retention: f64| {
        let mut document = snapshot();
        document["identity_snapshot"]["stability_metrics"]["parameter_values"] =
            json!({"D": 1, "C": retention, "R": 1});
        document
    };
    assert_eq!(across(&with(0.5), &with(0.4)), []);
    assert_eq!(across(&with(0.5), &with(0.399)).len(), 1);
}
