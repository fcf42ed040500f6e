//! The small rules of the tree, each a function from files to sentences that say what to do.

use std::collections::BTreeSet;

use trials::tree::{TextFile, root, text_files};

/// Longest Rust file, in lines.
const FILE_LINES: usize = 500;

/// Words about the place where the project is worked on; the product does not speak of it.
/// Written in two parts, so that this file does not hold them.
const FOREIGN_WORDS: [&str; 9] = [
    concat!("/wo", "rk/"),
    concat!("../sha", "red"),
    concat!("real", "-data"),
    concat!("DESIGN", ".md"),
    concat!("STYLE", ".md"),
    concat!("DEPS", ".md"),
    concat!("PEERS", ".md"),
    concat!("MISSION", ".md"),
    concat!("DESIGN", " §"),
];

/// Left behind by someone who meant to come back.
const MARKERS: [&str; 3] = [concat!("dbg", "!("), concat!("todo", "!("), concat!("unimplemented", "!(")];

/// The databases of the hub; each change of one is a change of the other.
const HUB_DATABASES: [&str; 2] = ["migrations/hub-postgres/", "migrations/hub-sqlite/"];

/// Contracts whose sentences each name the case that holds it, and where the cases are.
const CONTRACTS: [(&str, &str); 2] =
    [("gateway/src/store.rs", "gateway/tests/store/"), ("spoke/src/replica/store.rs", "spoke/tests/store")];

const MAP_FILE: &str = "ARCHITECTURE.md";
const MAP_HEADING: &str = "## Map";

fn long_files(files: &[TextFile]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.map(|file| (&file.path, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(path, lines)| format!("{path} has {lines} lines: split it, {FILE_LINES} is the most"))
        .collect()
}

/// Lines of the files that hold one of the words.
fn lines_with(files: &[TextFile], extension: &str, words: &[&str], advice: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(extension)) {
        for (index, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{} holds `{word}`: {advice}", file.path, index + 1));
            }
        }
    }
    found
}

fn foreign_words(files: &[TextFile]) -> Vec<String> {
    lines_with(files, "", &FOREIGN_WORDS, "speak of the product alone")
}

fn markers(files: &[TextFile]) -> Vec<String> {
    lines_with(files, ".rs", &MARKERS, "finish it or take it out")
}

fn lone_migrations(files: &[TextFile]) -> Vec<String> {
    let mut found = Vec::new();
    for (here, there) in [(0, 1), (1, 0)].map(|(a, b)| (HUB_DATABASES[a], HUB_DATABASES[b])) {
        for name in files.iter().filter_map(|file| file.path.strip_prefix(here)) {
            let twin = format!("{there}{name}");
            if !files.iter().any(|file| file.path == twin) {
                found.push(format!("{here}{name} has no twin: write {twin}"));
            }
        }
    }
    found
}

/// The paths on the map: a fenced block under its heading, each line `path — what it is for`.
fn map_paths(architecture: &str) -> Result<BTreeSet<String>, String> {
    let mut lines = architecture.lines();
    if !lines.any(|line| line.trim_end() == MAP_HEADING) {
        return Err(format!("{MAP_FILE} has no heading `{MAP_HEADING}`: write it"));
    }
    if !lines.any(|line| line.starts_with("```")) {
        return Err(format!("{MAP_FILE} has no fenced block under `{MAP_HEADING}`: write it"));
    }
    let mut paths = BTreeSet::new();
    for line in lines.take_while(|line| !line.starts_with("```")) {
        if line.trim().is_empty() {
            continue;
        }
        let Some((path, _)) = line.split_once('—') else {
            return Err(format!("{MAP_FILE}'s map has the line `{line}`: write `path — what it is for`"));
        };
        paths.insert(path.trim().trim_end_matches('/').to_owned());
    }
    Ok(paths)
}

/// The folders above a path, the nearest first.
fn folders_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/'), |(above, _)| above.rsplit_once('/')).map(|(above, _)| above)
}

/// True for `gateway/src/store.rs`: each such file stands on the map by its own name.
fn is_top_level_module(path: &str) -> bool {
    matches!(path.split('/').collect::<Vec<_>>()[..], [_, "src", _])
}

/// True when the map names the file, or a folder or module it is a part of. A whole crate or
/// its whole `src` says too little.
fn is_on_map(path: &str, map: &BTreeSet<String>) -> bool {
    let by_part = folders_above(path)
        .filter(|folder| folder.contains('/') && !folder.ends_with("/src"))
        .any(|folder| map.contains(folder) || map.contains(&format!("{folder}.rs")));
    map.contains(path) || (by_part && !is_top_level_module(path))
}

fn map_mistakes(files: &[TextFile], architecture: &str) -> Vec<String> {
    let map = match map_paths(architecture) {
        Ok(map) => map,
        Err(mistake) => return vec![mistake],
    };
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        there.insert(&file.path);
        there.extend(folders_above(&file.path));
    }
    let gone = map
        .iter()
        .filter(|path| !there.contains(path.as_str()))
        .map(|path| format!("{MAP_FILE}'s map names {path}, which is not there: mend the line"));
    let missing = files
        .iter()
        .map(|file| &file.path)
        .filter(|path| path.ends_with(".rs") && !is_on_map(path, &map))
        .map(|path| format!("{path} is not on {MAP_FILE}'s map: add the line `{path} — what it is for`"));
    gone.chain(missing).collect()
}

fn this_tree() -> Vec<TextFile> {
    match text_files(&root()) {
        Ok(files) => files,
        Err(reason) => unreadable(&reason),
    }
}

#[allow(clippy::panic, reason = "a tree that cannot be read fails every rule")]
fn unreadable(reason: &str) -> ! {
    panic!("{reason}")
}

fn made_up(files: &[(&str, &str)]) -> Vec<TextFile> {
    let file = |(path, text): &(&str, &str)| TextFile { path: (*path).to_owned(), text: (*text).to_owned() };
    files.iter().map(file).collect()
}

#[test]
fn the_tree_is_found() {
    let files = this_tree();
    assert!(files.iter().any(|file| file.path == "trials/tests/tidy.rs"));
    assert!(!files.iter().any(|file| file.path.starts_with("target/")));
}

#[test]
fn rust_files_are_short() {
    assert_eq!(long_files(&this_tree()), [""; 0]);
    let longest = "line\n".repeat(FILE_LINES);
    let longer = "line\n".repeat(FILE_LINES + 1);
    let found = long_files(&made_up(&[("a.rs", &longest), ("b.rs", &longer), ("c.md", &longer)]));
    assert_eq!(found, ["b.rs has 501 lines: split it, 500 is the most"]);
}

#[test]
fn the_tree_speaks_of_the_product_alone() {
    assert_eq!(foreign_words(&this_tree()), [""; 0]);
    let text = format!("fine\nsee {}main\n", FOREIGN_WORDS[0]);
    let found = foreign_words(&made_up(&[("README.md", &text)]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("README.md:2 holds"), "{found:?}");
}

#[test]
fn no_marker_is_left_behind() {
    assert_eq!(markers(&this_tree()), [""; 0]);
    for marker in MARKERS {
        let found = markers(&made_up(&[("a.rs", &format!("fn f() {{ {marker}) }}"))]));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

/// Migrations that would break the version before: after a database's first one they only add. What is to go goes in
/// one named so (`0009_contract_outbox.sql`), one version after nothing uses it any more.
fn breaking_migrations(files: &[TextFile]) -> Vec<String> {
    let is_later = |name: &str| !name.starts_with("0001_") && !name.contains("_contract_");
    let migrations = files.iter().filter(|file| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        file.path.starts_with("migrations/") && file.path.ends_with(".sql") && is_later(name)
    });
    let mut found = Vec::new();
    for file in migrations {
        let lines = file.text.lines().filter(|line| !line.trim_start().starts_with("--"));
        let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
        for statement in text.split(';').map(|s| s.split_whitespace().collect::<Vec<_>>().join(" ")) {
            let adds_column = statement.starts_with("alter table ") && statement.contains(" add column ");
            let is_kept_by_old = !statement.contains(" not null") || statement.contains(" default ");
            let adds = ["", "create table ", "create index "]
                .iter()
                .any(|adds| if adds.is_empty() { statement.is_empty() } else { statement.starts_with(adds) });
            // How a column is kept says nothing to who reads and writes it.
            let keeps = statement.starts_with("alter table ") && statement.contains(" set storage ");
            if !(adds || keeps || (adds_column && is_kept_by_old)) {
                found.push(format!("{}: the version before cannot live with: {statement}", file.path));
            }
        }
    }
    found
}

#[test]
fn a_migration_leaves_the_version_before_something_to_stand_on() {
    assert_eq!(breaking_migrations(&this_tree()), [""; 0]);
    let found = breaking_migrations(&made_up(&[
        ("migrations/replica/0001_init.sql", "drop table a;"),
        ("migrations/replica/0002_b.sql", "-- drop\ncreate table b (id blob);\ncreate index c on b (id);"),
        ("migrations/replica/0003_c.sql", "alter table b add column d integer not null\n default 0;"),
        ("migrations/replica/0004_d.sql", "alter table b add column e integer not null;"),
        ("migrations/replica/0005_e.sql", "alter table b drop column d; drop table b;"),
        ("migrations/replica/0006_contract_e.sql", "drop table b;"),
        ("migrations/hub-postgres/0007_f.sql", "alter table b alter column e set storage external;"),
    ]));
    let paths: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
    let (four, five) = ("migrations/replica/0004_d.sql", "migrations/replica/0005_e.sql");
    assert_eq!(paths, [four, five, five], "{found:?}");
}

#[test]
fn both_hub_databases_have_the_same_migrations() {
    assert_eq!(lone_migrations(&this_tree()), [""; 0]);
    let found = lone_migrations(&made_up(&[
        ("migrations/hub-postgres/0001_log.sql", ""),
        ("migrations/hub-sqlite/0001_log.sql", ""),
        ("migrations/hub-sqlite/0002_leases.sql", ""),
        ("migrations/replica/0009_outbox.sql", ""),
    ]));
    let expected =
        "migrations/hub-sqlite/0002_leases.sql has no twin: write migrations/hub-postgres/0002_leases.sql";
    assert_eq!(found, [expected]);
}

#[test]
fn the_map_names_what_is_there() {
    let files = this_tree();
    let Some(map) = files.iter().find(|file| file.path == MAP_FILE) else {
        eprintln!("SKIPPED: {MAP_FILE} is not there yet, so its map is not compared with the tree");
        return;
    };
    let mistakes = map_mistakes(&files, &map.text);
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn a_map_that_differs_from_the_tree_is_told_so() {
    let files = made_up(&[
        ("hub/build.rs", ""),
        ("hub/src/lib.rs", ""),
        ("hub/src/store.rs", ""),
        ("hub/src/store/memory.rs", ""),
        ("hub/src/wire/tls/accept.rs", ""),
        ("hub/tests/laws.rs", ""),
    ]);
    let whole = "# A\n## Map\nSee:\n```text\nhub/build.rs  — b\nhub/src/lib.rs — l\n\nhub/src/store.rs — s\nhub/src/wire/ — w\nhub/tests/ — t\n```\nhub/gone.rs\n";
    assert_eq!(map_mistakes(&files, whole), [""; 0]);

    let gone = whole.replace("hub/tests/", "hub/trials/");
    let found = map_mistakes(&files, &gone);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("names hub/trials, which is not there"), "{found:?}");
    assert!(found[1].starts_with("hub/tests/laws.rs is not on"), "{found:?}");

    let vague = "## Map\n```\nhub/ — all\nhub/src/ — more\nhub/tests/ — t\n```\n";
    assert_eq!(map_mistakes(&files, vague).len(), 5);
}

#[test]
fn a_map_that_cannot_be_read_is_told_so() {
    for text in ["# A\n", "## Map\nnone\n", "## Map\n```\nhub/src/lib.rs the library\n```\n"] {
        assert_eq!(map_mistakes(&[], text).len(), 1, "{text}");
    }
}

/// Names in backticks that may be cases: lower case with an underscore.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// What a contract says: each point of a list at the file's head or at a trait, each sentence at a trait's method.
/// What is under a heading (`# Errors`) is not a part of it.
fn sentences(contract: &str) -> Vec<String> {
    let (mut said, mut doc, mut is_trait) = (Vec::new(), String::new(), false);
    let points = |doc: &str| doc.split(" - ").skip(1).map(str::to_owned).collect::<Vec<_>>();
    for line in contract.lines().chain([""]) {
        let text = line.trim_start();
        if let Some(more) = text.strip_prefix("///").or_else(|| text.strip_prefix("//!")) {
            doc = doc + " " + more.trim();
            continue;
        }
        let whole = std::mem::take(&mut doc);
        let (whole, _) = whole.split_once(" # ").unwrap_or((&whole, ""));
        is_trait = (is_trait && line != "}") || line.starts_with("pub trait ");
        if line.is_empty() || line.starts_with("pub trait ") || line.starts_with("#[async_trait]") {
            said.extend(points(whole));
        } else if is_trait && text.contains("fn ") {
            said.extend(whole.trim().trim_end_matches('.').split(". ").map(str::to_owned));
        }
    }
    said
}

fn contract_mistakes(files: &[TextFile]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, cases) in CONTRACTS {
        let Some(contract) = files.iter().find(|file| file.path == path) else {
            found.push(format!("{path} is not there"));
            continue;
        };
        let cases: Vec<&str> =
            files.iter().filter(|file| file.path.starts_with(cases)).map(|file| file.text.as_str()).collect();
        let is_there = |name: &str| cases.iter().any(|text| text.contains(&format!("async fn {name}(")));
        for sentence in sentences(&contract.text) {
            if names(&sentence).next().is_none() {
                found.push(format!("{path}: name the case that holds `{sentence}`"));
            }
            let absent = names(&sentence).filter(|name| !is_there(name));
            found.extend(absent.map(|name| format!("{path}: there is no case {name}: write it")));
        }
    }
    found
}

#[test]
fn every_sentence_of_a_stores_contract_names_a_case_that_is_there() {
    let files = this_tree();
    let mistakes = contract_mistakes(&files);
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    for (path, _) in CONTRACTS {
        let contract = files.iter().find(|file| file.path == path).map(|file| sentences(&file.text));
        assert!(contract.is_some_and(|said| said.len() > 40), "{path}: its sentences are found");
    }
}

#[test]
fn a_sentence_without_a_case_is_told() {
    let contract = "//! Contract.\n//!\n//! - `a_case`: it holds.\n//! - It holds.\n\n/// Of it:\n/// - All of it\n\
                    ///   (`no_case`).\n#[async_trait]\npub trait Store {\n    /// One (`a_case`). Two.\n    ///\n    /// \
                    # Errors\n    /// Three.\n    async fn one(&self);\n}\n/// Four.\nfn four() {}\n";
    let said = ["`a_case`: it holds.", "It holds.", "All of it (`no_case`).", "One (`a_case`)", "Two"];
    assert_eq!(sentences(contract), said);
    let cases = "async fn a_case() {}";
    let files = CONTRACTS.map(|(path, at)| (format!("{at}x.rs"), path));
    let files: Vec<(&str, &str)> =
        files.iter().flat_map(|(at, path)| [(*path, contract), (at.as_str(), cases)]).collect();
    let told = contract_mistakes(&made_up(&files));
    assert_eq!(told.len(), 2 * 3, "{told:?}");
    assert!(told.iter().any(|told| told.contains("there is no case no_case")), "{told:?}");
}
