//! The bench suite does not rot: every scenario runs, with sizes that take no time. How fast anything is, is not looked at.
#![allow(clippy::panic, clippy::expect_used, reason = "a panic is how a test fails")]

use trials::process::{Folder, run};

#[test]
fn every_scenario_runs_and_is_shown_beside_its_ceiling() {
    let folder = Folder::new("bench");
    let (results, document) = (folder.at("results.json"), folder.at("performance.md"));
    let ran = run("bench", &["run", "--small", "--out", &results, "--document", &document]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let document = std::fs::read_to_string(document).expect("it is written");
    let listed = run("bench", &["list"]);
    let names: Vec<&str> = listed.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 10, "{names:?}");
    let (_, last) =
        ran.stdout.rsplit_once("| scenario | ours | peer or ceiling | ratio |").expect("the table");
    for name in names {
        let (_, section) = document.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("{name}"));
        let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        assert!(rows.take_while(|line| line.starts_with('|')).count() > 1, "{name}: {section}");
        assert!(
            ["bare-commit", "steady"].contains(&name) || last.contains(&format!("\n| {name}, ")),
            "{name} is beside nothing"
        );
    }
    let again = run("bench", &["render", &results, &folder.at("again.md")]);
    assert!(again.stdout.ends_with(last), "the table of the results is the same: {}", again.stdout);
    assert_eq!(std::fs::read_to_string(folder.at("again.md")).expect("it is written"), document);
}
