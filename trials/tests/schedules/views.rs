//! Views that change, records that move, and a node that nothing concerns.

use super::*;

#[test]
fn quiet_view() {
    let folder = Folder::new("quiet-view");
    let hub = Hub::start(&folder, false, None);
    let (busy, quiet) = (Spoke::join(&folder, &hub, "busy"), Spoke::join(&folder, &hub, "quiet"));
    see(&hub, "quiet", &["default/entity"]);
    busy.ok(&["put", "entity", "one", "{}"]);
    let (_a, _b) = (busy.daemon(), quiet.daemon());
    until("what it may see has come", || quiet.body("entity", "one"));
    let before = status(&quiet);
    for n in 0..100 {
        put(&busy, &n.to_string());
    }
    busy.ok(&["sync"]);
    let head = busy.digest().0;
    let after = until("its cursor is where the log ends", || {
        Some(status(&quiet)).filter(|now| now["revision"].as_u64() >= Some(head))
    });
    let received = |status: &Value| {
        let total = &status["sync"]["total"];
        ["added", "updated", "deleted"].map(|name| total[name].as_u64().unwrap_or_default())
    };
    assert_eq!(received(&after), received(&before), "no rescan: {after}");
    assert_eq!((&after["stopped"], &after["caught_up"]), (&Value::Null, &json!(true)), "{after}");
    assert_eq!(ids(&quiet), BTreeSet::new());
    assert_eq!(quiet.digest(), hub.digest("quiet"));
}

#[test]
fn view_grows_and_view_shrinks() {
    let folder = Folder::new("view-changes");
    let hub = Hub::start(&folder, false, None);
    let (desktop, laptop) = (Spoke::join(&folder, &hub, "desktop"), Spoke::join(&folder, &hub, "laptop"));
    see(&hub, "laptop", &["default/entity"]);
    put(&desktop, "long ago");
    put(&desktop, "deleted");
    desktop.ok(&["rm", "note", "deleted"]);
    desktop.ok(&["put", "entity", "one", "{}"]);
    desktop.ok(&["sync"]);
    let daemon = laptop.daemon();
    until("what it may see has come", || laptop.body("entity", "one"));
    assert_eq!(ids(&laptop), BTreeSet::new());
    see(&hub, "laptop", &["default/entity", "default/note"]);
    until("what was written before it was allowed comes by backfill", || laptop.body("note", "long ago"));
    level(&hub, &[&laptop, &desktop]);
    assert_eq!(ids(&laptop), ["long ago".to_owned()].into());
    see(&hub, "laptop", &["default/note"]);
    until("what was taken away goes", || laptop.body("entity", "one").is_none().then_some(()));
    // The same for one that is away meanwhile.
    drop(daemon);
    see(&hub, "laptop", &["default/entity"]);
    desktop.ok(&["put", "entity", "two", "{}"]);
    level(&hub, &[&laptop, &desktop]);
    assert_eq!((ids(&laptop), laptop.ids("entity")), (BTreeSet::new(), vec!["one".into(), "two".into()]));
    assert_eq!(desktop.ids("entity"), ["one", "two"]);
}

#[test]
fn record_leaves_view() {
    let folder = Folder::new("leaves-view");
    let hub = Hub::start(&folder, false, None);
    let (desktop, laptop) = (Spoke::join(&folder, &hub, "desktop"), Spoke::join(&folder, &hub, "laptop"));
    let phone = Spoke::join(&folder, &hub, "phone");
    see(&hub, "desktop", &["default", "home", "work"]);
    see(&hub, "laptop", &["work"]);
    see(&hub, "phone", &["home"]);
    desktop.ok(&["sync"]);
    let put_in = |domain: &str, id: &str| {
        desktop.ok(&["put", "note", id, &json!({"in": domain}).to_string(), "--domain", domain]);
        desktop.ok(&["sync"]);
    };
    for id in ["stays", "moves", "back", "never"] {
        put_in(if id == "never" { "home" } else { "work" }, id);
    }
    level(&hub, &[&laptop, &phone, &desktop]);
    assert_eq!(ids(&laptop), ["stays", "moves", "back"].map(str::to_owned).into());
    // Both are away while records move, one of them to and fro.
    put_in("home", "moves");
    put_in("home", "back");
    put_in("work", "back");
    put_in("default", "never");
    level(&hub, &[&laptop, &phone, &desktop]);
    assert_eq!(ids(&laptop), ["stays", "back"].map(str::to_owned).into());
    assert_eq!(ids(&phone), ["moves".to_owned()].into());
    assert_eq!(laptop.body("note", "back"), Some(json!({"in": "work"})));
    // The same live.
    let (_a, _b) = (laptop.daemon(), phone.daemon());
    put_in("work", "moves");
    until("it is there again", || laptop.body("note", "moves"));
    until("it has gone", || phone.body("note", "moves").is_none().then_some(()));
    level(&hub, &[&laptop, &phone, &desktop]);
}
