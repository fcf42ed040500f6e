//! A spoke in a network namespace of its own, behind a link that is parted and, where the kernel can, loses and
//! delays. It takes root; where that is not there it is skipped, loudly. The proxy needs nothing and is never skipped.

use std::process::Command;

use serde_json::json;
use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, until};

/// The link, and the namespace at its other end.
struct Link {
    space: String,
    near: String,
    address: String,
}

fn ip(args: &str) -> Result<(), String> {
    let (program, args) = args.split_once(' ').expect("a program and its arguments");
    let ran = Command::new(program).args(args.split(' ')).output().map_err(|e| format!("{program}: {e}"))?;
    if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).into_owned()) }
}

impl Link {
    fn make() -> Result<Self, String> {
        let number = std::process::id() % 16_000;
        let (third, fourth) = (number / 64, number % 64 * 4);
        let near = format!("hw{number}a");
        let link =
            Self { space: format!("hw{number}"), near, address: format!("10.213.{third}.{}", fourth + 1) };
        let (space, near, far) = (&link.space, &link.near, format!("hw{number}b"));
        ip(&format!("ip netns add {space}"))?;
        ip(&format!("ip link add {near} type veth peer name {far} netns {space}"))?;
        ip(&format!("ip addr add {}/30 dev {near}", link.address))?;
        ip(&format!("ip link set {near} up"))?;
        ip(&format!("ip netns exec {space} ip addr add 10.213.{third}.{}/30 dev {far}", fourth + 2))?;
        ip(&format!("ip netns exec {space} ip link set {far} up"))?;
        Ok(link)
    }

    fn set(&self, state: &str) {
        ip(&format!("ip link set {} {state}", self.near)).expect("the link is ours");
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = ip(&format!("ip netns del {}", self.space));
        let _ = ip(&format!("ip link del {}", self.near));
    }
}

#[test]
fn eventually_a_spoke_behind_a_bad_link_is_in_sync() {
    let link = match Link::make() {
        Ok(link) => link,
        Err(why) => return eprintln!("SKIPPED: no network namespaces here: {why}"),
    };
    let folder = Folder::new("namespace");
    let mut hub = Hub::start(&folder, false, None);
    assert_eq!(hub.terminate(), 0);
    hub.listen_on(&format!("{}:0", link.address));
    hub.restart();
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    let (_far, _near) = (laptop.daemon_under(&["ip", "netns", "exec", &link.space]), desktop.daemon());
    let netem = format!("tc qdisc replace dev {} root netem loss 20% delay 30ms 20ms", link.near);
    let is_lossy = ip(&netem).map_err(|why| eprintln!("SKIPPED: loss and delay: {why}")).is_ok();
    for round in 0..3 {
        let (there, back) = (format!("there-{round}"), format!("back-{round}"));
        laptop.ok(&["put", "note", &there, &json!({"n": round}).to_string()]);
        until("it comes through", || desktop.body("note", &there));
        link.set("down");
        // Neither end notices: nothing is answered, and nothing refused.
        laptop.ok(&["put", "note", &format!("parted-{round}"), "{}"]);
        desktop.ok(&["put", "note", &back, "{}"]);
        assert_eq!(laptop.body("note", &back), None);
        link.set("up");
        until("the other way", || laptop.body("note", &back));
    }
    let _ = is_lossy.then(|| ip(&format!("tc qdisc del dev {} root", link.near)));
    laptop.ok(&["sync"]);
    desktop.ok(&["sync"]);
    assert_eq!(laptop.digest(), desktop.digest());
    assert_eq!(laptop.digest(), hub.digest("laptop"));
}
