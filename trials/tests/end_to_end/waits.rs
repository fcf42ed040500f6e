//! Waiting until writes have come as far as is asked.

use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

#[test]
fn a_durable_write_is_at_the_hub_when_the_wait_ends() {
    let folder = Folder::new("durable");
    let mut hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let at_hub =
        |hub: &Hub, id: &str| hub.admin(&["record", "get", "--tenant", "default", "note", id]).code == 0;
    let alone = laptop.ok(&["put", "note", "alone", "{}", "--wait", "durable"]).json();
    assert_eq!(alone["reached"], "durable");
    assert!(at_hub(&hub, "alone"));
    let daemon = laptop.daemon();
    laptop.ok(&["put", "note", "daemon", "{}", "--wait", "durable"]);
    assert!(at_hub(&hub, "daemon"));
    hub.kill();
    let late = laptop.run(&["put", "note", "late", "{}", "--wait", "durable", "--wait-timeout", "1"]);
    assert_eq!(late.error()["error"]["reason"], "DEADLINE_EXCEEDED", "{late:?}");
    hub.restart();
    laptop.ok(&["patch", "note", "late", r#"{"n":1}"#, "--wait", "durable"]);
    assert!(at_hub(&hub, "late"), "one write waits for those it rests on");
    drop(daemon);
}

/// Puts a note and waits until so many other nodes have it.
fn put_seen(spoke: &Spoke, id: &str, nodes: u32, timeout_s: u32) -> trials::process::Ran {
    let (grade, timeout) = (format!("seen={nodes}"), timeout_s.to_string());
    spoke.run(&["put", "note", id, "{}", "--wait", &grade, "--wait-timeout", &timeout])
}

#[test]
fn a_write_is_seen_once_so_many_other_nodes_hold_it() {
    let folder = Folder::new("seen");
    let hub = Hub::start(&folder, false, None);
    let [laptop, desktop, phone] =
        ["laptop", "desktop", "phone"].map(|name| Spoke::join(&folder, &hub, name));
    let apart = Spoke::join(&folder, &hub, "apart");
    let view = hub.admin(&["view", "set", "--tenant", "default", "--node", "apart", "--cell", "elsewhere"]);
    assert_eq!(view.code, 0, "{view:?}");
    let _daemons = [&laptop, &desktop, &apart].map(Spoke::daemon);
    let one = put_seen(&laptop, "one", 1, 60).json();
    assert_eq!((&one["reached"], &one["seen"]), (&"seen=1".into(), &1.into()), "{one}");
    assert!(desktop.body("note", "one").is_some(), "seen is durable in a replica");

    // The phone is offline, and who does not see the record does not help.
    let late = put_seen(&laptop, "two", 2, 1).error();
    assert_eq!(late["error"]["reason"], "DEADLINE_EXCEEDED", "{late}");
    assert!(late["error"]["detail"].as_str().is_some_and(|detail| detail.contains("1 of 2")), "{late}");
    let writer = std::thread::spawn(move || (put_seen(&laptop, "three", 2, 120), laptop));
    until("the write waits at the hub", || {
        let got = hub.admin(&["record", "get", "--tenant", "default", "note", "three"]);
        (got.code == 0).then_some(())
    });
    assert!(!writer.is_finished(), "the phone has not seen it");
    let phone_daemon = phone.daemon();
    let (three, laptop) = writer.join().expect("the writer waits");
    assert_eq!(three.json()["seen"], 2, "{three:?}");
    assert!(phone.body("note", "three").is_some());

    let many = put_seen(&laptop, "four", 3, 60);
    assert_eq!((many.code, &many.error()["error"]["reason"]), (3, &"TOO_FEW_NODES".into()), "{many:?}");
    drop(phone_daemon);
    assert_eq!(hub.admin(&["node", "revoke", "--tenant", "default", "phone"]).code, 0);
    let fewer = put_seen(&laptop, "five", 2, 60);
    assert_eq!(
        fewer.error()["error"]["reason"],
        "TOO_FEW_NODES",
        "a revoked node is no other node: {fewer:?}"
    );
    assert_eq!(put_seen(&laptop, "six", 1, 60).code, 0);
}
