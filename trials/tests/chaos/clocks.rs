//! Clocks that jump: the hub's and a spoke's, apart and together.

use serde_json::{Value, json};
use trials::clock::Clock;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

/// How far the hub's clock and the spoke's are from the machine's, one after the other, seconds.
const JUMPS_S: [(i64, i64); 6] =
    [(0, 86_400), (0, -86_400), (-3_600, 0), (3_600, 0), (-3_600, 3_600), (0, 30 * 86_400)];

/// Jumps of every run, a day ahead and a day back; `JUMPS=6` for all.
const JUMPS: usize = 2;

#[test]
fn eventually_all_agree_after_clocks_have_jumped() {
    let folder = Folder::new("clocks");
    let (of_hub, of_laptop) = (Folder::new("clock-hub"), Folder::new("clock-laptop"));
    let (hub_clock, laptop_clock) = (Clock::under(of_hub.path()), Clock::under(of_laptop.path()));
    let mut hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    assert_eq!(hub.terminate(), 0);
    for (name, value) in hub_clock.environment() {
        hub.set(&name, &value);
    }
    hub.restart();
    let (_a, _b) = (laptop.daemon_in(&laptop_clock.environment()), desktop.daemon());
    let mut written = Vec::new();
    let jumps = crate::number("JUMPS").and_then(|n| usize::try_from(n).ok()).unwrap_or(JUMPS);
    for (round, (hub_s, laptop_s)) in JUMPS_S.into_iter().enumerate().take(jumps) {
        hub_clock.set(hub_s);
        laptop_clock.set(laptop_s);
        for spoke in [&laptop, &desktop] {
            let id = format!("{}-{round}", spoke.name);
            spoke.ok(&["put", "note", &id, &json!({"round": round}).to_string()]);
            written.push(id);
            // Whether it goes through now is up to the clocks; why not is said.
            let synced = spoke.run(&["sync", "--timeout", "2"]);
            assert!(synced.code == 0 || synced.error()["error"]["reason"].is_string(), "{synced:?}");
        }
    }
    hub_clock.set(0);
    laptop_clock.set(0);
    for spoke in [&laptop, &desktop, &laptop] {
        until("a spoke is in sync again", || (spoke.run(&["sync"]).code == 0).then_some(()));
    }
    for spoke in [&laptop, &desktop] {
        for id in &written {
            assert!(spoke.body("note", id).is_some(), "{} lacks {id}", spoke.name);
        }
        let left: Value = spoke.ok(&["outbox", "list"]).json();
        assert_eq!(left["entries"].as_array().map(Vec::len), Some(0), "{left}");
        assert_eq!(spoke.digest(), hub.digest("laptop"));
    }
}
