//! Three nodes that work for long without their hub, on the same records among others.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::Value;
use trials::fleet::{Hub, Spoke};
use trials::process::Folder;

/// Edits that each node makes while it is offline; `EDITS=10000` for as many as a long absence brings.
const EDITS: u64 = 400;
/// One edit in so many is of a record that the others edit too.
const SHARED_EVERY: u64 = 5;

fn import(folder: &Folder, spoke: &Spoke, lines: &str) {
    let file = folder.at(&format!("{}.jsonl", spoke.name));
    std::fs::write(&file, lines).expect("a file is written");
    spoke.ok(&["import", &file, "--kind", "entity"]);
}

fn line(id: &str, n: u64, text: &str) -> String {
    format!("{{\"id\":\"{id}\",\"n\":{n},\"text\":\"{text}\"}}\n")
}

fn total(spokes: &[Spoke; 3], name: &str) -> u64 {
    let of = |spoke: &Spoke| -> Value { spoke.ok(&["status"]).json()["sync"]["total"][name].clone() };
    spokes.iter().filter_map(|spoke| of(spoke).as_u64()).sum()
}

#[allow(clippy::disallowed_methods, reason = "the time it takes is what the reader asked for")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn finally_three_that_were_offline_agree_and_every_clash_is_listed() {
    let edits = crate::number("EDITS").unwrap_or(EDITS);
    let shared = edits / SHARED_EVERY;
    let folder = Folder::new("offline");
    let hub = Hub::start(&folder, false, None);
    let spokes = ["laptop", "desktop", "phone"].map(|name| Spoke::join(&folder, &hub, name));
    let base: String = (0..shared).map(|n| line(&format!("e{n}"), n, "as it was")).collect();
    import(&folder, &spokes[0], &base);
    spokes.iter().for_each(|spoke| drop(spoke.ok(&["sync", "--timeout", "600"])));
    for spoke in &spokes {
        let mut lines: String = (0..shared).map(|n| line(&format!("e{n}"), n, &spoke.name)).collect();
        for n in shared..edits {
            let _ = lines.write_str(&line(&format!("{}-{n}", spoke.name), n, "alone"));
        }
        import(&folder, spoke, &lines);
        let status = spoke.ok(&["status"]).json();
        assert_eq!(status["outbox"]["entries"].as_u64(), Some(edits), "nothing went out: {status}");
    }
    let start = now();
    let daemons = spokes.each_ref().map(|spoke| spoke.daemon());
    // Twice: what the last of them sends comes to the first as well.
    for spoke in spokes.iter().chain(&spokes) {
        spoke.ok(&["sync", "--timeout", "600"]);
    }
    let took = start.elapsed();
    let digests = spokes.each_ref().map(Spoke::digest);
    assert!(digests.iter().all(|digest| *digest == hub.digest("phone")), "{digests:?}");
    let listed = spokes[2].ok(&["conflicts", "list"]).json();
    let conflicts = listed["conflicts"].as_array().map_or(0, Vec::len);
    let (sent, received) = (total(&spokes, "sent_bytes"), total(&spokes, "received_bytes"));
    println!(
        "3 x {edits} edits, {shared} of the same records: equal digests after {took:.1?}, {conflicts} conflicts, \
         {sent} bytes sent, {received} received"
    );
    assert!(
        u64::try_from(conflicts).expect("a count") >= shared,
        "{conflicts} of {shared} clashes are listed"
    );
    drop(daemons);
}
