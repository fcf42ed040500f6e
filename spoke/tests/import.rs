//! Import and export over a replica in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use semantics::ids::{Key, Kind, RecordId};
use semantics::reason::Reason;
use serde_json::json;
use spoke::error::ReplicaError;
use spoke::import::{Mapping, Options, Summary, run};
use spoke::replica::memory::MemoryStore;
use spoke::replica::{Identity, Replica};

async fn replica() -> Replica {
    let identity = Identity {
        node: semantics::ids::NodeId([7; 16]),
        domain: semantics::ids::Domain::default_domain(),
        place: "here".to_owned(),
    };
    Replica::open(Arc::new(MemoryStore::new()), identity, Arc::new(support::Counting::default()))
        .await
        .unwrap()
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../trials/data").join(name)
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("hubward-import-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn options(kind: &str, rejected: &Path) -> Options {
    Options {
        kind: Some(Kind::new(kind).unwrap()),
        rejected: Some(rejected.to_owned()),
        ..Options::default()
    }
}

async fn import(replica: &Replica, path: &Path, options: &Options) -> Result<Summary, ReplicaError> {
    run(replica, path, options, 1_000, &mut |_| {}).await
}

async fn body(replica: &Replica, kind: &str, id: &str) -> serde_json::Value {
    let key = Key { kind: Kind::new(kind).unwrap(), id: RecordId::new(id).unwrap() };
    let item = replica.get(&key).await.unwrap().unwrap_or_else(|| panic!("no {key}"));
    serde_json::from_slice(item.record.body().unwrap()).unwrap()
}

#[tokio::test]
async fn collections_of_a_yaml_file_are_imported_by_their_own_ids() {
    let replica = replica().await;
    let folder = scratch("yaml");
    let done = import(&replica, &sample("garden.yaml"), &options("entity", &folder.join("r"))).await.unwrap();
    assert_eq!((done.read, done.written, done.rejected), (7, 7, 0));
    assert_eq!(body(&replica, "entity", "P-02").await["area_m2"], json!(48));
    assert_eq!(body(&replica, "entity", "7").await["name"], json!("Mina Sørensen"));
    assert_eq!(done.rejected_file, None);
}

#[tokio::test]
async fn importing_twice_changes_nothing() {
    let replica = replica().await;
    let folder = scratch("twice");
    let options = options("entity", &folder.join("r"));
    import(&replica, &sample("garden.yaml"), &options).await.unwrap();
    let entries = replica.status().await.unwrap().outbox.entries;
    let again = import(&replica, &sample("garden.yaml"), &options).await.unwrap();
    assert_eq!((again.written, again.unchanged), (0, 7));
    assert_eq!(replica.status().await.unwrap().outbox.entries, entries);
}

#[tokio::test]
async fn the_memory_of_an_mcp_server_without_its_mapping_is_told_which_one_it_needs() {
    let folder = scratch("memory-unmapped");
    let entity = r#"{"type":"entity","name":"N","entityType":"T","observations":[]}"#;
    let relation = r#"{"type":"relation","from":"N","relationType":"R","to":"M"}"#;
    for (name, text) in [
        ("memory.json", format!("{entity}\n{relation}\n")),
        ("memory.jsonl", format!("\u{feff}{relation}\n{entity}\n")),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let replica = replica().await;
        let options = options("entity", &folder.join("r"));
        let refusal = import(&replica, &path, &options).await.unwrap_err().refusal();
        assert_eq!(refusal.reason, Reason::Malformed);
        assert!(refusal.detail.ends_with("import it with --mapping mcp-memory"), "{refusal}");
        // Who says what the id is has a mapping in mind.
        let named = Options { id_fields: vec!["name".to_owned()], ..options };
        assert_ne!(
            import(&replica, &path, &named).await.map_err(|e| e.refusal().detail),
            Err(refusal.detail)
        );
    }
}

#[tokio::test]
async fn a_byte_order_mark_costs_no_row() {
    let folder = scratch("mark");
    for (name, text) in [
        ("a.jsonl", "\u{feff}{\"id\":\"first\",\"n\":1}\n{\"id\":\"second\",\"n\":2}\n"),
        ("a.json", "\u{feff}[{\"id\":\"first\",\"n\":1},{\"id\":\"second\",\"n\":2}]"),
        ("a.yaml", "\u{feff}- {id: first, n: 1}\n- {id: second, n: 2}\n"),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let replica = replica().await;
        let done = import(&replica, &path, &options("entity", &folder.join("r"))).await.unwrap();
        assert_eq!((done.written, done.rejected), (2, 0), "{name}");
        assert_eq!(body(&replica, "entity", "first").await["n"], json!(1), "{name}");
    }
}

#[tokio::test]
async fn good_rows_are_kept_and_bad_rows_are_reported_by_number() {
    let replica = replica().await;
    let folder = scratch("bad");
    let rejected = folder.join("rejected.jsonl");
    let done = import(&replica, &sample("diary.jsonl"), &options("note", &rejected)).await.unwrap();
    assert_eq!((done.read, done.written, done.rejected), (7, 3, 4));
    let text = std::fs::read_to_string(&rejected).unwrap();
    let found: Vec<(String, String)> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["at"].as_str().unwrap().to_owned(), line["reason"].as_str().unwrap().to_owned()))
        .collect();
    for (at, reason) in [
        ("line 3", "MALFORMED"),
        ("line 4", "MALFORMED"),
        ("line 5", "UNSAFE_NUMBER"),
        ("line 6", "MALFORMED"),
    ] {
        assert!(found.contains(&(at.to_owned(), reason.to_owned())), "{at} {reason}: {found:?}");
    }
    assert_eq!(body(&replica, "note", "d1").await["text"], json!("Sowed the first row of beans."));
}

#[tokio::test]
async fn a_mapping_names_kinds_and_ids_and_shapes_rows() {
    let replica = replica().await;
    let folder = scratch("mapping");
    let mapping = "collections:\n  plots:\n    kind: note\n    id: [holder]\n    drop: [crops]\n    rename: {area_m2: area}\n    set: {source: garden}\n";
    let options =
        Options { mapping: Mapping::parse(mapping).unwrap(), ..options("entity", &folder.join("r")) };
    import(&replica, &sample("garden.yaml"), &options).await.unwrap();
    let plot = body(&replica, "note", "Wei Lin").await;
    assert_eq!(plot, json!({"area": 55, "holder": "Wei Lin", "plot_id": "P-03", "source": "garden"}));
}

fn mapped(name_or_path: &str, rejected: &Path) -> Options {
    Options {
        mapping: Mapping::load(name_or_path).unwrap(),
        rejected: Some(rejected.to_owned()),
        ..Options::default()
    }
}

#[tokio::test]
async fn a_memory_file_becomes_entities_and_edges_and_odd_lines_are_told_by_number() {
    let replica = replica().await;
    let folder = scratch("memory");
    let rejected = folder.join("rejected.jsonl");
    let options = mapped("mcp-memory", &rejected);
    let done = import(&replica, &sample("memory.json"), &options).await.unwrap();
    assert_eq!((done.read, done.written, done.rejected), (13, 5, 8));
    let mina = body(&replica, "entity", "Mina Sørensen").await;
    let observations = json!(["Keeps plot P-01.", "Prefers leeks."]);
    assert_eq!(mina, json!({"name": "Mina Sørensen", "entity_type": "person", "observations": observations}));
    let holds = body(&replica, "edge", r#"["Mina Sørensen","holds","P-01"]"#).await;
    assert_eq!(holds, json!({"src": "Mina Sørensen", "rel_type": "holds", "dst": "P-01"}));
    let told = std::fs::read_to_string(&rejected).unwrap();
    let lines = told.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let places: Vec<String> = lines.map(|line| line["at"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (6..=13).map(|n| format!("line {n}")).collect();
    assert_eq!(places, expected);
    let again = import(&replica, &sample("memory.json"), &options).await.unwrap();
    assert_eq!((again.written, again.unchanged), (0, 5));
}

#[tokio::test]
async fn fields_that_are_an_id_together_never_meet_and_may_be_long() {
    let replica = replica().await;
    let folder = scratch("composed");
    let file = folder.join("memory.jsonl");
    let row = |from: &str, to: &str| {
        json!({"type": "relation", "from": from, "relationType": "r", "to": to}).to_string()
    };
    let long = "l".repeat(300);
    let rows = [row("a\",\"r", "b"), row("a", "r\",\"b"), row(&long, "x"), row(&long, "y")];
    std::fs::write(&file, rows.join("\n")).unwrap();
    let done = import(&replica, &file, &mapped("mcp-memory", &folder.join("r"))).await.unwrap();
    assert_eq!((done.written, done.rejected), (4, 0));
    let again = import(&replica, &file, &mapped("mcp-memory", &folder.join("r"))).await.unwrap();
    assert_eq!((again.written, again.unchanged), (0, 4));
}

#[tokio::test]
async fn hub_kinds_are_passed_over() {
    let replica = replica().await;
    let folder = scratch("export");
    let file = folder.join("export.jsonl");
    let rows = [
        json!({"kind": "note", "id": "a", "domain": "garden", "subject": "mina", "body": {"text": "hi"}}),
        json!({"kind": "view", "id": "v", "domain": "default", "body": {}}),
        json!({"kind": "conflict", "id": "c", "domain": "default", "body": {}}),
        json!({"kind": "note", "id": "sealed", "domain": "default", "body_hex": "00"}),
    ];
    std::fs::write(&file, rows.map(|row| row.to_string()).join("\n")).unwrap();
    let done = import(&replica, &file, &mapped("export", &folder.join("r"))).await.unwrap();
    assert_eq!((done.written, done.passed_over, done.rejected), (1, 2, 1));
    let key = Key { kind: Kind::new("note").unwrap(), id: RecordId::new("a").unwrap() };
    let placement = replica.get(&key).await.unwrap().unwrap().record.placement;
    assert_eq!((placement.domain.as_str(), placement.subject.unwrap().as_str()), ("garden", "mina"));
}

#[tokio::test]
async fn a_sparse_file_of_one_huge_line_is_not_held_in_memory() {
    let replica = replica().await;
    let folder = scratch("sparse");
    let options = options("note", &folder.join("r"));
    let sparse = |name: &str, bytes: u64| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    };
    let ten_gigabytes = sparse("ten.jsonl", 10 * 1024 * 1024 * 1024);
    match import(&replica, &ten_gigabytes, &options).await {
        Err(ReplicaError::Refused(refusal)) => assert_eq!(refusal.reason, Reason::TooLarge),
        other => panic!("{other:?}"),
    }
    let one_line = sparse("line.jsonl", 1000 * 1024 * 1024);
    let mut file = std::fs::OpenOptions::new().append(true).open(&one_line).unwrap();
    std::io::Write::write_all(&mut file, b"\n{\"id\": \"b\"}\n").unwrap();
    let before = peak_bytes();
    let done = import(&replica, &one_line, &options).await.unwrap();
    assert_eq!((done.written, done.rejected), (1, 1));
    assert!(peak_bytes() - before < 100 * 1024 * 1024, "{} more", peak_bytes() - before);
}

/// Most memory this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_mapping_is_a_regular_file_or_built_in() {
    let folder = scratch("odd-mapping");
    let link = folder.join("link.yaml");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(sample("garden.yaml"), &link).unwrap();
    let fifo = folder.join("pipe.yaml");
    let _ = std::fs::remove_file(&fifo);
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [link, fifo, folder.clone(), folder.join("none")] {
        let refusal = Mapping::load(path.to_str().unwrap()).unwrap_err();
        assert_eq!(refusal.reason, Reason::Malformed);
        assert!(refusal.detail.contains("built in are export, mcp-memory"), "{}", refusal.detail);
    }
    let long = folder.join("long.yaml");
    std::fs::File::create(&long).unwrap().set_len(10 * 1024 * 1024 * 1024).unwrap();
    assert_eq!(Mapping::load(long.to_str().unwrap()).unwrap_err().reason, Reason::TooLarge);
}

#[tokio::test]
async fn bad_rows_go_to_a_file_of_the_owners_and_never_through_a_link() {
    use std::os::unix::fs::PermissionsExt as _;
    let replica = replica().await;
    let folder = scratch("planted");
    let (rejected, mine) = (folder.join("rejected.jsonl"), folder.join("mine.txt"));
    std::fs::write(&mine, "precious").unwrap();
    let _ = std::fs::remove_file(&rejected);
    std::os::unix::fs::symlink(&mine, &rejected).unwrap();
    for _ in 0..2 {
        let done = import(&replica, &sample("diary.jsonl"), &options("note", &rejected)).await.unwrap();
        assert_eq!(done.rejected, 4);
        let about = std::fs::symlink_metadata(&rejected).unwrap();
        assert!(about.is_file());
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "precious");
}

#[tokio::test]
async fn what_is_no_regular_file_or_too_long_a_line_is_refused() {
    let replica = replica().await;
    let folder = scratch("odd");
    let options = options("note", &folder.join("r"));
    let link = folder.join("link.json");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(sample("diary.jsonl"), &link).unwrap();
    let fifo = folder.join("pipe.jsonl");
    let _ = std::fs::remove_file(&fifo);
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [link, fifo, folder.clone()] {
        match import(&replica, &path, &options).await {
            Err(ReplicaError::Refused(refusal)) => assert_eq!(refusal.reason, Reason::Malformed),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    let long = folder.join("long.jsonl");
    let huge = "x".repeat(3 * 1024 * 1024);
    std::fs::write(&long, format!("{{\"id\":\"a\",\"t\":\"{huge}\"}}\n{{\"id\":\"b\"}}\n")).unwrap();
    let done = import(&replica, &long, &options).await.unwrap();
    assert_eq!((done.written, done.rejected), (1, 1));
}

#[tokio::test]
async fn a_file_that_bad_rows_would_replace_is_refused_and_stays() {
    let replica = replica().await;
    let file = scratch("own").join("rows.jsonl");
    std::fs::write(&file, "not json\n").unwrap();
    let refused = import(&replica, &file, &options("note", &file)).await.unwrap_err().to_string();
    assert!(refused.contains("is the file that is imported"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not json\n");
}

#[tokio::test]
async fn a_document_of_more_rows_than_its_bound_is_refused_before_rows_are_made_of_it() {
    let replica = replica().await;
    let file = scratch("zeros").join("rows.json");
    std::fs::write(&file, format!("[{}0]", "0,".repeat(1_000_000))).unwrap();
    let refused = import(&replica, &file, &options("note", &file.with_extension("bad"))).await.unwrap_err();
    assert!(refused.to_string().contains("more than 1000000 rows"), "{refused}");
}

#[tokio::test]
async fn a_real_file_of_forty_entities_is_imported() {
    let samples = std::env::var_os("TRIALS_SAMPLE_DATA").map(PathBuf::from).unwrap_or_default();
    let shared = samples.join("p8_percolating-plants_entities.yaml");
    if !shared.exists() {
        eprintln!("SKIPPED: TRIALS_SAMPLE_DATA names no folder with {}", shared.display());
        return;
    }
    let replica = replica().await;
    let folder = scratch("forty");
    let done = import(&replica, &shared, &options("entity", &folder.join("r"))).await.unwrap();
    assert_eq!((done.read, done.written, done.rejected), (40, 40, 0));
}
