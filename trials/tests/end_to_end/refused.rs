//! What a spoke says of writes that the hub refused.

use serde_json::json;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, run, until};

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

#[test]
fn all_that_was_set_aside_is_written_anew_but_what_cannot_be() {
    let folder = Folder::new("retry-all");
    let hub = Hub::start(&folder, false, None);
    let kind = |schema: &str| {
        let file = folder.at("recipe.json");
        std::fs::write(&file, format!(r#"{{"name":"recipe","policy":"fields"{schema}}}"#)).expect("a file");
        assert_eq!(hub.admin(&["kind", "apply", &file]).code, 0);
    };
    let view = |cells: &[&str]| {
        let mut args = vec!["view", "set", "--tenant", "default", "--node", "laptop"];
        args.extend(cells.iter().flat_map(|cell| ["--cell", cell]));
        assert_eq!(hub.admin(&args).code, 0);
    };
    kind("");
    let laptop = Spoke::join(&folder, &hub, "laptop");
    laptop.ok(&["sync"]);
    assert_eq!(laptop.ok(&["outbox", "retry", "--all"]).json(), json!({"retried": 0}));
    put(&laptop, "note", "a", &json!({"n": 1}));
    put(&laptop, "recipe", "r", &json!({"n": 1}));
    put(&laptop, "note", "b", &json!({"n": 2}));
    laptop.ok(&["patch", "note", "a", r#"{"m":2}"#]);
    view(&["default/entity"]);
    assert_eq!(laptop.ok(&["sync"]).json()["set_aside"], 4);
    kind(r#","schema":{"type":"object","required":["title"]}"#);
    view(&["default/entity", "default/note", "default/recipe"]);
    laptop.ok(&["sync"]);

    let _daemon = laptop.daemon();
    let refused = laptop.run(&["outbox", "retry", "--all"]).error()["error"].clone();
    assert_eq!(refused["reason"], "SCHEMA_VIOLATION", "{refused}");
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("1 stay set aside, 3 were written anew"), "{detail}");
    until("what was written anew is at the hub", || {
        let status = laptop.ok(&["status"]).json();
        (status["outbox"]["entries"] == 1 && status["outbox"]["set_aside"] == 1).then_some(())
    });
    assert_eq!(laptop.body("note", "a"), Some(json!({"n": 1, "m": 2})), "in the order of writing");
    assert_eq!(laptop.ids("note"), ["a", "b"]);
    assert_eq!(laptop.digest(), hub.digest("laptop"));
}
