//! Folders that an earlier build left, opened by this one.

use std::path::Path;

use serde_json::{Value, json};
use trials::fleet::{Hub, Spoke, copy_files};
use trials::process::Folder;
use trials::tree::root;

/// Digest of the laptop's view at revision 19, as the build that wrote it told.
const DIGEST: &str = "82813506ec6364c9d9bb9b7f8e92888c92d3939ced8958e185c196b348129aa1";
/// Where the hub listened.
const OLD_URL: &str = "https://127.0.0.1:18543";

#[test]
fn a_recorded_hub_and_replica_are_migrated_and_go_on() {
    let folder = Folder::new("recorded");
    let recorded = root().join("trials/recorded");
    for (name, kept, database) in
        [("hub", "hub.db", "hub.sqlite"), ("laptop", "replica.db", "replica.sqlite")]
    {
        let data = folder.at(name);
        copy_files(&recorded.join(name), Path::new(&data));
        let renamed = std::fs::rename(Path::new(&data).join(kept), Path::new(&data).join(database));
        renamed.expect("the database gets its name");
    }
    let hub = Hub::start(&folder, false, None);
    // What the old build wrote is as it was.
    assert_eq!(hub.digest("laptop"), (19, DIGEST.to_owned()));
    let examined = hub.admin(&["doctor", "--full", "--tenant", "default"]);
    assert_eq!(examined.code, 0, "{examined:?}");
    let tenant = &examined.json()["tenants"][0];
    assert_eq!((&tenant["chain"]["first"], &tenant["chain"]["wrong"]), (&json!(1), &json!(0)), "{tenant}");
    assert_eq!((&tenant["compared"], &tenant["damaged"]["count"]), (&json!(true), &json!(0)), "{tenant}");

    let laptop = Spoke { data: folder.at("laptop"), name: "laptop".to_owned() };
    let settings = Path::new(&laptop.data).join("spoke.json");
    let text = std::fs::read_to_string(&settings).expect("the settings are there");
    assert!(text.contains(OLD_URL));
    std::fs::write(&settings, text.replace(OLD_URL, &hub.url())).expect("the settings are written");
    assert_eq!(laptop.digest(), (19, DIGEST.to_owned()), "before it has synced");
    let waiting = laptop.ok(&["outbox", "list"]).json();
    assert_eq!(waiting["entries"].as_array().map(Vec::len), Some(2), "{waiting}");

    laptop.ok(&["sync"]);
    assert_eq!(laptop.digest(), hub.digest("laptop"));
    let waiting = laptop.ok(&["outbox", "list"]).json();
    assert_eq!(waiting["entries"], json!([]), "what waited was sent");
    let conflicts = laptop.ok(&["conflicts", "list"]).json();
    assert_eq!(conflicts["conflicts"].as_array().map(Vec::len), Some(1), "{conflicts}");
    let phone = Spoke::join(&folder, &hub, "phone");
    phone.ok(&["sync"]);
    assert_eq!(phone.digest().1, laptop.digest().1);
    assert_eq!(phone.body("note", "late"), Some(json!({"text": "written while the hub was away"})));
    assert_eq!(phone.body("note", "d1"), Some(json!({"n": 10})));
    assert_eq!(phone.body("note", "gone"), None::<Value>);
    let sound = laptop.ok(&["doctor"]).json();
    assert_eq!(sound["healthy"], json!(true), "{sound}");
    assert_eq!(hub.admin(&["doctor", "--full", "--tenant", "default"]).code, 0);
}
