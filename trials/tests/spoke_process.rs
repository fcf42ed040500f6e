//! A spoke as a process: what happens to it over hours, with its hubs, its disk and its neighbours.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};
use trials::clock::Clock;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

/// Longer than an access token lives, seconds.
const TOKEN_ENDS_S: i64 = 16 * 60;

fn put(spoke: &Spoke, kind: &str, id: &str, body: &Value) {
    spoke.ok(&["put", kind, id, &body.to_string()]);
}

#[test]
fn a_daemon_goes_on_when_its_access_token_ends() {
    let folder = Folder::new("token-ends");
    let clock = Clock::under(folder.path());
    let mut hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    assert_eq!(hub.terminate(), 0);
    for (name, value) in clock.environment() {
        hub.set(&name, &value);
    }
    hub.restart();
    // The clock of one spoke goes with the hub's, that of the other stands still, as of a machine that slept.
    let (_a, _b) = (laptop.daemon_in(&clock.environment()), desktop.daemon());
    for round in 1..=3 {
        let id = format!("round-{round}");
        put(&laptop, "note", &id, &json!({"text": "still here"}));
        until("it arrives", || desktop.body("note", &id));
        clock.set(round * TOKEN_ENDS_S);
        for spoke in [&laptop, &desktop] {
            until("a new session stands", || {
                let status = spoke.ok(&["status"]).json();
                assert_eq!(status["stopped"], Value::Null, "{status}");
                (status["phase"] == "live" && status["last_refusal"].is_null()).then_some(())
            });
        }
    }
    put(&desktop, "note", "back", &json!({"text": "and the other way"}));
    until("it arrives", || laptop.body("note", "back"));
}

#[test]
fn a_spoke_moves_on_to_another_gateway_and_asks_that_one() {
    let folder = Folder::new("failover");
    let Some(postgres) = trials::process::Postgres::start(&folder) else { return };
    let mut near = Hub::start(&folder, false, Some(&postgres.url));
    let mut far = near.beside(&folder, "far");
    let laptop = Spoke { data: folder.at("laptop"), name: "laptop".to_owned() };
    let token = near.token(1);
    let (near_url, far_url) = (near.url(), far.url());
    let join = ["join", "--hub", &near_url, "--hub", &far_url, "--token", &token];
    laptop.ok(&[&join[..], &["--name", "laptop", "--type", "desktop"]].concat());
    let desktop = Spoke::join(&folder, &far, "desktop");

    near.kill();
    put(&laptop, "note", "first", &json!({"text": "through the second"}));
    laptop.ok(&["sync"]);
    let rows = laptop.ok(&["history", "note", "first"]).json();
    assert_eq!(rows["rows"].as_array().map(Vec::len), Some(1), "the second gateway is asked: {rows}");

    let _daemon = laptop.daemon();
    laptop.ok(&["sync"]);
    near.restart();
    far.kill();
    put(&laptop, "note", "second", &json!({"text": "and back"}));
    laptop.ok(&["sync"]);
    far.restart();
    desktop.ok(&["sync"]);
    assert_eq!(desktop.body("note", "second"), Some(json!({"text": "and back"})));
    assert_eq!(laptop.digest(), desktop.digest());
}
