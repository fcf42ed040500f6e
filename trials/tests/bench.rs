//! The bench suite does not rot: every scenario runs, with sizes that take no time. How fast anything is, is not looked at.
#![allow(clippy::panic, clippy::expect_used, reason = "a panic is how a test fails")]

use trials::process::{Folder, run};

#[test]
fn every_scenario_runs_and_is_shown_beside_its_ceiling() {
    let folder = Folder::new("bench");
    let (results, document) = (folder.at("results.json"), folder.at("performance.md"));
    let small = ["run", "--small", "--out", &results, "--document", &document];
    let ran = run("bench", &small);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains("FAILED: "), "{}\n{}", ran.stdout, ran.stderr);
    let document = std::fs::read_to_string(&document).expect("it is written");
    let listed = run("bench", &["list"]);
    let names: Vec<&str> = listed.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 10, "{names:?}");
    let (_, last) =
        ran.stdout.rsplit_once("| scenario | ours | peer or ceiling | ratio | target |").expect("the table");
    for name in &names {
        let (_, section) = document.split_once(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("{name}"));
        let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        assert!(rows.take_while(|line| line.starts_with('|')).count() > 1, "{name}: {section}");
        assert!(
            *name == "bare-commit" || last.contains(&format!("\n| {name}, ")),
            "{name} is beside nothing"
        );
    }
    for name in &names {
        let plot = std::fs::read_to_string(folder.at(&format!("performance/{name}.svg"))).expect("its plot");
        assert!(plot.starts_with("<svg ") && plot.trim_end().ends_with("</svg>"), "{name}: {plot}");
    }
    let again = run("bench", &["render", &results, &folder.at("again.md")]);
    assert!(again.stdout.ends_with(last), "the table of the results is the same: {}", again.stdout);
    let same = document.replace("](performance/", "](again/");
    assert_eq!(std::fs::read_to_string(folder.at("again.md")).expect("it is written"), same);
    let before = std::fs::read_to_string(&results).expect("it is written");
    let resumed = run("bench", &[&small[..], &["--resume", "--only", "push-"]].concat());
    assert_eq!(resumed.code, 0, "{}\n{}", resumed.stdout, resumed.stderr);
    assert!(!resumed.stdout.contains("1/1 "), "nothing is measured again: {}", resumed.stdout);
    let series = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value["series"].clone()
    };
    let after = std::fs::read_to_string(&results).expect("it is written");
    assert_eq!(series(&after), series(&before));

    let scale = folder.at("scale.md");
    let own = trials::tree::root().join("docs/scale.md");
    std::fs::copy(own, &scale).expect("a file");
    let rendered = run("bench", &["render", &results, &folder.at("again.md"), "--scale", &scale]);
    assert_eq!(rendered.code, 0, "{}", rendered.stderr);

    let unusual = ["--only", "bare-commit", "--case", "16 rows", "--under", "slow flushes"];
    let ran = run("bench", &[&small[..], &unusual].concat());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let document = std::fs::read_to_string(folder.at("performance.md")).expect("it is written");
    let (before, section) =
        document.split_once("\n## bare-commit, slow flushes\n").expect("a section of its own");
    assert!(section.contains("| 16 rows | bare SQLite |"), "{section}");
    assert!(names.iter().all(|name| before.contains(&format!("\n## {name}\n"))), "the others stay: {before}");
}
