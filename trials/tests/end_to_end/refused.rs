//! What a spoke says of writes that the hub refused.

use serde_json::json;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, run};

use super::put;

#[test]
fn a_sync_tells_how_many_entries_the_hub_refused_and_what_to_do() {
    let folder = Folder::new("set-aside");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let fine = laptop.ok(&["sync"]).json();
    assert_eq!((&fine["set_aside"], &fine["set_aside_before"]), (&json!(0), &json!(0)), "{fine}");
    assert!(fine.get("remedy").is_none(), "{fine}");

    let cell = ["view", "set", "--tenant", "default", "--node", "laptop", "--cell", "default/entity"];
    assert_eq!(hub.admin(&cell).code, 0);
    for id in ["a", "b"] {
        laptop.ok(&["put", "note", id, "{}"]);
    }
    put(&laptop, "entity", "taken", &json!({}));
    let told = laptop.ok(&["sync"]).json();
    assert_eq!((&told["set_aside"], &told["set_aside_before"]), (&json!(2), &json!(0)), "{told}");
    assert!(told["remedy"].as_str().is_some_and(|remedy| remedy.contains("spoke outbox list")), "{told}");

    // For people too, and as long as it is so: by the daemon as by the command alone.
    let _daemon = laptop.daemon();
    laptop.ok(&["put", "note", "c", "{}"]);
    let again = laptop.ok(&["sync"]).json();
    let all = again["set_aside"].as_u64().zip(again["set_aside_before"].as_u64()).map(|(now, by)| now + by);
    assert_eq!(all, Some(3), "{again}");
    let text = run("spoke", &["--data", &laptop.data, "sync"]).stdout;
    assert!(text.contains("set_aside_before  3") && text.contains("spoke outbox drop"), "{text}");
}
