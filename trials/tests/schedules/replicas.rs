//! Folders of spokes that are copied and put back, as people do it: with `cp -a`.

use super::*;

/// Copies a folder with everything about it.
fn copy(from: &str, to: &str) {
    let done = Command::new("cp").args(["-a", from, to]).output().expect("cp runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn epoch(spoke: &Spoke) -> u64 {
    let told = status(spoke);
    told["writer"]["epoch"].as_u64().unwrap_or_else(|| panic!("no epoch: {told}"))
}

/// Waited in a folder when it was copied: both copies send it, and the second time merges with the first.
const IN_BOTH: &str = "waits in both";

/// Each note took effect once, and nothing waits or is set aside.
fn each_once(hub: &Hub, spokes: &[&Spoke], wanted: &BTreeSet<String>) {
    level(hub, spokes);
    for spoke in spokes {
        assert_eq!(ids(spoke), *wanted, "{}", spoke.data);
        assert_eq!(status(spoke)["outbox"]["entries"], 0, "{}", spoke.data);
    }
    for id in wanted {
        let kept = hub.admin(&["record", "history", "--tenant", "default", "note", id]).json();
        let rows = kept.as_object().and_then(|kept| kept.values().find_map(Value::as_array)).map(Vec::len);
        let most = if id == IN_BOTH { 2 } else { 1 };
        assert!(rows.is_some_and(|rows| (1..=most).contains(&rows)), "{id}: {kept}");
    }
}

#[test]
fn replica_cloned() {
    let folder = Folder::new("replica-cloned");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    put(&laptop, "sent");
    laptop.ok(&["sync"]);
    put(&laptop, IN_BOTH);
    let clone = Spoke { data: folder.at("clone"), name: laptop.name.clone() };
    copy(&laptop.data, &clone.data);
    let mut wanted: BTreeSet<String> = ["sent", IN_BOTH].map(str::to_owned).into();
    let both = [&laptop, &clone];
    let _daemons = both.map(Spoke::daemon);
    let mut write = |from: usize| {
        for round in from..from + 5 {
            for (n, spoke) in both.iter().enumerate() {
                let id = format!("{n}-{round}");
                spoke.ok(&["put", "note", &id, "{}", "--wait", "durable"]);
                wanted.insert(id);
            }
        }
        wanted.clone()
    };
    each_once(&hub, &both, &write(0));
    let of_both = both.map(|spoke| spoke.body("note", IN_BOTH));
    assert_eq!(of_both, [0, 1].map(|_| Some(json!({"by": laptop.data}))), "as it was written");
    let conflicts = laptop.ok(&["conflicts", "list"]).json();
    assert_eq!(conflicts["conflicts"], json!([]));
    let epochs = both.map(epoch);
    assert_ne!(epochs[0], epochs[1], "each has an epoch of its own");
    each_once(&hub, &both, &write(5));
    assert_eq!(both.map(epoch), epochs, "and keeps it: neither takes the other's");
}

/// A copy of what somebody is writing may be torn. It is used as it is, or refused; the original loses nothing by it.
#[test]
fn replica_cloned_while_its_daemon_writes() {
    const COPIES: usize = 4;
    let folder = Folder::new("replica-cloned-live");
    let hub = Hub::start(&folder, false, None);
    let laptop = Spoke::join(&folder, &hub, "laptop");
    let daemon = laptop.daemon();
    let is_over = AtomicBool::new(false);
    let (wanted, copies) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = BTreeSet::new();
            while !is_over.load(Ordering::SeqCst) || written.len() < 20 {
                let id = format!("n{:04}", written.len());
                laptop.ok(&["put", "note", &id, "{}", "--wait", "durable"]);
                written.insert(id);
            }
            written
        });
        let copies: Vec<Spoke> = (0..COPIES)
            .map(|n| {
                let before = status(&laptop)["revision"].as_u64();
                until("it has gone on", || (status(&laptop)["revision"].as_u64() > before).then_some(()));
                let clone = Spoke { data: folder.at(&format!("clone{n}")), name: laptop.name.clone() };
                copy(&laptop.data, &clone.data);
                clone
            })
            .collect();
        is_over.store(true, Ordering::SeqCst);
        (writing.join().expect("the writer ends"), copies)
    });
    each_once(&hub, &[&laptop], &wanted);
    let mut wanted = wanted;
    let mut told = Vec::new();
    for (n, clone) in copies.iter().enumerate() {
        let synced = clone.run(&["sync"]);
        if synced.code == 0 {
            let id = format!("by clone {n}");
            clone.ok(&["put", "note", &id, "{}"]);
            wanted.insert(id);
            each_once(&hub, &[clone, &laptop], &wanted);
            told.push("used".to_owned());
        } else {
            let error = synced.error()["error"].clone();
            assert_eq!(error["reason"], "STORE_CORRUPT", "{error}");
            told.push("refused".to_owned());
        }
    }
    println!("copies of a folder whose daemon was writing: {}", told.join(", "));
    drop(daemon);
    let again = laptop.daemon_again();
    put(&laptop, "goes on");
    wanted.insert("goes on".to_owned());
    each_once(&hub, &[&laptop], &wanted);
    drop(again);
}

#[test]
fn replica_restored() {
    let folder = Folder::new("replica-restored");
    let hub = Hub::start(&folder, false, None);
    let (laptop, desktop) = (Spoke::join(&folder, &hub, "laptop"), Spoke::join(&folder, &hub, "desktop"));
    put(&laptop, "old");
    laptop.ok(&["sync"]);
    put(&laptop, "unsent in the backup");
    let backup = folder.at("last-week");
    copy(&laptop.data, &backup);
    // The original sends what the backup has not sent yet, and goes on.
    for n in 0..20 {
        put(&laptop, &format!("later{n:02}"));
    }
    laptop.ok(&["sync"]);
    let before = epoch(&laptop);
    put(&laptop, "went with the disk");
    std::fs::remove_dir_all(&laptop.data).expect("the disk is gone");
    copy(&backup, &laptop.data);
    put(&laptop, "after the restore");
    let _daemon = laptop.daemon();
    let mut wanted: BTreeSet<String> = (0..20).map(|n| format!("later{n:02}")).collect();
    wanted.extend(["old", "unsent in the backup", "after the restore"].map(str::to_owned));
    each_once(&hub, &[&laptop, &desktop], &wanted);
    assert_ne!(epoch(&laptop), before, "a new epoch");
    put(&laptop, "goes on");
    wanted.insert("goes on".to_owned());
    each_once(&hub, &[&laptop, &desktop], &wanted);
}
