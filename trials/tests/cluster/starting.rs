//! Gateways that are started while their database cannot be had.

use super::*;
use trials::process::{Process, Ran, run};

fn serve(folder: &Folder, url: &str) -> Ran {
    let free = "127.0.0.1:0";
    let args =
        ["--data", &folder.at("hub"), "--listen", free, "--operator-listen", free, "--database-url", url];
    let mut all = vec!["--output", "json", "serve"];
    all.extend(args);
    run("hubward", &all)
}

fn is_told(ran: &Ran, why: &str) {
    let told = ran.error()["error"].clone();
    let detail = told["detail"].as_str().unwrap_or_default();
    assert_eq!(told["reason"], "STORE_UNAVAILABLE", "{told}");
    assert!(detail.contains(why) && !detail.contains('\n'), "{detail}");
}

#[test]
fn a_hub_that_cannot_open_its_database_ends_and_says_why() {
    let folder = Folder::new("no-database");
    let Some((primary, standby, url)) = failover::pair(&folder) else { return };
    is_told(&serve(&folder, &standby.url), "the database is a standby: it takes no writes");
    primary.tell("wait");
    let mut hub = Hub::start(&folder, false, Some(&url));
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let daemon = laptop.daemon();
    laptop.ok(&["put", "note", "before", "{}", "--wait", "durable"]);
    // A commit waits for a standby that is gone, and goes on waiting when its gateway is lost.
    standby.tell("stop");
    laptop.ok(&["put", "note", "waits", "{}"]);
    until("the gateway says that it is not ready", || (hub.admin(&["health"]).code != 0).then_some(()));
    hub.kill();
    is_told(&serve(&folder, &url), "is a synchronous standby gone?");
    let log = folder.path().join("start.log");
    let args =
        ["serve", "--data", &folder.at("hub"), "--listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0"];
    let mut args = args.to_vec();
    args.extend(["--database-url", &url]);
    let starting = Process::start_in("hubward", &args, &[], Some(&log));
    until("it says that the store is not open", || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("the store is not open yet").then_some(())
    });
    assert_eq!(starting.terminate(), 0, "a signal ends it while it waits");
    standby.tell("start");
    // What writes beside a hub waits for the standby as well.
    assert_eq!(hub.on_store(&["backup", "create", &folder.at("backup")]).code, 0);
    hub.restart();
    until("what waited has come", || (laptop.ok(&["status"]).json()["outbox"]["entries"] == 0).then_some(()));
    assert_eq!(laptop.digest(), hub.digest("laptop"));
    assert_eq!(laptop.ids("note"), ["before", "waits"]);
    drop(daemon);
    hub.kill();
    for server in [&standby, &primary] {
        server.tell("stop");
    }
    is_told(&serve(&folder, &primary.url), "");
}
