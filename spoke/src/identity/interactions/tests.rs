use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::client::Spoke;

async fn identities() -> Identities {
    let cadence = Cadence { every_interactions: 10, every_ms: 60_000, soon_interactions: 3 };
    Identities::shared_by(Arc::new(Spoke::in_memory().await.unwrap()), cadence.checked().unwrap())
}

fn state(depth: u8, n: u64) -> Value {
    let metrics = json!({"parameter_values": {"D": depth, "C": 0.9, "R": 0.9}});
    json!({"identity_snapshot": {"stability_metrics": metrics, "n": n}})
}

async fn told(identities: &Identities, depth: u8, n: u64) -> Interaction {
    identities.interact(Some("ada"), &state(depth, n), false).await.unwrap()
}

async fn stands(identities: &Identities) -> Value {
    identities.export_state(&key("ada").unwrap().id).await.unwrap().document
}

#[tokio::test]
async fn a_state_is_held_until_it_is_due_by_interactions_or_by_time() {
    let identities = identities().await;
    assert!(!told(&identities, 5, 0).await.is_held, "nobody has a state of it");
    for n in 1..10 {
        let told = told(&identities, 5, n).await;
        assert_eq!((told.is_held, told.interactions, told.trigger), (true, n, Trigger::Changed));
    }
    assert_eq!(stands(&identities).await, state(5, 0));
    assert!(!told(&identities, 5, 10).await.is_held);
    assert_eq!(stands(&identities).await, state(5, 10));
    // And by time.
    assert!(told(&identities, 5, 11).await.is_held);
    let due = {
        let held = identities.keeping.held.lock().await;
        identities.keeping.cadence.due_ms(&held[&key("ada").unwrap().id].tally)
    };
    assert_eq!(identities.share_held(|cadence, tally| cadence.due_ms(tally) < due).await, Some(due));
    assert_eq!(identities.share_held(|cadence, tally| cadence.due_ms(tally) <= due).await, None);
    assert_eq!(stands(&identities).await, state(5, 11));
}

#[tokio::test]
async fn a_collapse_is_shared_with_the_interaction_that_brought_it() {
    let identities = identities().await;
    told(&identities, 5, 0).await;
    let fell = told(&identities, 1, 1).await;
    assert_eq!((fell.trigger, fell.priority, fell.is_held), (Trigger::Collapsed, Priority::High, false));
    assert!(identities.spoke.replica().has_urgent().await.unwrap());
    assert!(told(&identities, 1, 2).await.is_held, "that it has collapsed is known");
    let rescued = told(&identities, 4, 3).await;
    assert_eq!((rescued.trigger, rescued.is_held), (Trigger::Rescued, false));
    let restarted = identities.interact(Some("ada"), &state(4, 4), true).await.unwrap();
    assert_eq!((restarted.trigger, restarted.is_held), (Trigger::Restarted, false));
}

#[tokio::test]
async fn what_worsens_is_shared_within_so_many_interactions() {
    let identities = identities().await;
    told(&identities, 5, 0).await;
    let worse = told(&identities, 2, 1).await;
    assert_eq!((worse.trigger, worse.priority, worse.is_held), (Trigger::Degrading, Priority::Medium, true));
    assert!(told(&identities, 2, 2).await.is_held);
    assert!(told(&identities, 2, 3).await.is_held);
    assert!(!told(&identities, 2, 4).await.is_held);
    assert_eq!(stands(&identities).await, state(2, 4));
}

#[tokio::test]
async fn what_is_held_is_shared_before_the_program_ends() {
    let identities = identities().await;
    told(&identities, 5, 0).await;
    assert!(told(&identities, 5, 1).await.is_held);
    identities.flush().await;
    assert_eq!(stands(&identities).await, state(5, 1));
}

#[tokio::test]
async fn past_the_bound_a_state_is_shared_at_each_interaction() {
    let identities = identities().await;
    for n in 0..=HELD_MAX {
        let id = format!("agent-{n}");
        for turn in 0..2 {
            let told = identities.interact(Some(&id), &state(5, turn), false).await.unwrap();
            assert_eq!(told.is_held, turn == 1 && n < HELD_MAX, "{id}");
        }
    }
}
