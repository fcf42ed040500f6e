//! The hub's keys, changed while spokes come and go.

use serde_json::Value;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

use super::put;

fn entries(hub: &Hub) -> Vec<Value> {
    let words = ["audit", "list", "--tenant", "hub", "--event", "token_key_rotated"];
    hub.admin(&words).json()["entries"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_rotation_of_the_token_key_is_taken_up_and_noted_and_spokes_go_on() {
    let folder = Folder::new("keys");
    let mut hub = Hub::start(&folder, false, None);
    let spoke = Spoke::join(&folder, &hub, "laptop");
    put(&spoke, "note", "before", &serde_json::json!({"text": "x"}));
    spoke.ok(&["sync"]);
    let rotated = hub.admin(&["keys", "rotate"]).json();
    // A hub looks once a minute, and first when it starts.
    assert_eq!(hub.terminate(), 0);
    hub.restart();
    let noted = until("the rotation is noted", || entries(&hub).pop());
    assert_eq!(
        (&noted["kid"], &noted["before"], &noted["who"]),
        (&rotated["kid"], &rotated["before"], &"hub".into())
    );
    put(&spoke, "note", "after", &serde_json::json!({"text": "y"}));
    spoke.ok(&["sync"]);
    assert_eq!(spoke.digest(), hub.digest("laptop"));
}
