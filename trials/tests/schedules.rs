//! Schedules of docs/correctness.md with real processes, by their names, where no other test of processes has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that reports what it saw"
)]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Postgres, until};

#[path = "schedules/replicas.rs"]
mod replicas;
#[path = "schedules/views.rs"]
mod views;

fn status(spoke: &Spoke) -> Value {
    spoke.ok(&["status"]).json()
}

fn ids(spoke: &Spoke) -> BTreeSet<String> {
    spoke.ids("note").into_iter().collect()
}

fn put(spoke: &Spoke, id: &str) {
    spoke.ok(&["put", "note", id, &json!({"by": spoke.data}).to_string()]);
}

/// A node whose cells are these.
fn see(hub: &Hub, node: &str, cells: &[&str]) {
    let mut args = vec!["view", "set", "--tenant", "default", "--node", node];
    args.extend(cells.iter().flat_map(|cell| ["--cell", cell]));
    let set = hub.admin(&args);
    assert_eq!(set.code, 0, "{set:?}");
}

/// All push and pull until each holds what the hub holds for it.
fn level(hub: &Hub, spokes: &[&Spoke]) {
    until("all stand where the hub does", || {
        spokes.iter().all(|spoke| spoke.run(&["sync"]).code == 0).then_some(())?;
        spokes.iter().all(|spoke| spoke.digest() == hub.digest(&spoke.name)).then_some(())
    });
}

#[test]
fn policy_revoked() {
    let folder = Folder::new("policy-revoked");
    let Some(postgres) = Postgres::start(&folder) else { return };
    let near = Hub::start(&folder, false, Some(&postgres.url));
    let far = near.beside(&folder, "far");
    let laptop = Spoke::join_at(&folder, &near, &[far.url()], "laptop");
    let desktop = Spoke::join(&folder, &near, "desktop");
    let (_a, _b) = (laptop.daemon(), desktop.daemon());
    put(&desktop, "before");
    until("the laptop has it, through the other gateway", || laptop.body("note", "before"));
    assert_eq!(near.admin(&["node", "revoke", "--tenant", "default", "laptop"]).code, 0);
    put(&laptop, "late");
    until("its session ends, and it says why", || {
        let told = status(&laptop);
        let refused = [&told["stopped"], &told["last_refusal"]].map(|told| told["reason"].clone());
        refused.iter().any(|reason| *reason == "NODE_REVOKED" || *reason == "UNAUTHENTICATED").then_some(())
    });
    desktop.ok(&["put", "note", "after", "{}", "--wait", "durable"]);
    for hub in [&near, &far] {
        let got = hub.admin(&["record", "get", "--tenant", "default", "note", "late"]);
        assert_ne!(got.code, 0, "what it wrote is refused at every gateway: {got:?}");
        assert_eq!(hub.admin(&["record", "get", "--tenant", "default", "note", "after"]).code, 0);
    }
    assert_eq!(laptop.body("note", "after"), None, "nothing more is delivered");
    assert!(laptop.body("note", "late").is_some(), "what it wrote stays with it");
}
