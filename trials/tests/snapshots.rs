//! What the commands print, compared with what is kept in `data/snapshots`. `UPDATE_SNAPSHOTS=1` keeps what is
//! printed now.
#![allow(clippy::panic, clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "snapshots/documents.rs"]
mod documents;
#[path = "snapshots/tour.rs"]
mod tour;

use std::fmt::Write;

use trials::fleet::{Hub, Spoke};
use trials::process::{Folder, Ran, run};
use trials::tree::root;

fn compare(name: &str, printed: &str) {
    let path = root().join("trials/data/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, printed).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, pair) in kept.lines().zip(printed.lines()).enumerate() {
        assert_eq!(pair.0, pair.1, "line {} of {name}; UPDATE_SNAPSHOTS=1 keeps what is printed now", n + 1);
    }
    assert_eq!(
        kept.lines().count(),
        printed.lines().count(),
        "{name}: UPDATE_SNAPSHOTS=1 keeps what is printed now"
    );
}

/// Numbers that the machine gives, by what stands before them.
const GIVEN: [(&str, &str); 2] = [("127.0.0.1:", "PORT"), ("\"pid\":", "PID")];

/// Puts a word for everything that differs from run to run: ids, addresses, times, paths.
fn masked(text: &str, folder: &str) -> String {
    let text = text.replace(folder, "FOLDER");
    let (mut out, mut word) = (String::new(), String::new());
    for c in text.chars().chain(['\n']) {
        let is_within = (c == '-' && is_secret(&word)) || (matches!(c, '-' | '.') && is_jwt(&word));
        if c.is_ascii_alphanumeric() || c == '_' || is_within {
            word.push(c);
            continue;
        }
        let given = GIVEN.iter().find(|(before, _)| out.ends_with(before)).map(|(_, name)| *name);
        out.push_str(&name(&word, given));
        word.clear();
        out.push(c);
    }
    let lines: Vec<String> = out.trim_end().lines().map(in_order).collect();
    lines.join("\n") + "\n"
}

/// Writers stand in the order of their nodes' ids, which are drawn: what is left of them is put in an order of its own.
fn in_order(line: &str) -> String {
    let Some((head, list)) = line.find("HEX32.").and_then(|at| line.split_at_checked(at)) else {
        return line.to_owned();
    };
    let mut dots: Vec<&str> = list.split(", ").collect();
    if dots.iter().all(|dot| dot.starts_with("HEX32.")) {
        dots.sort_unstable();
    }
    format!("{head}{}", dots.join(", "))
}

/// Join tokens and credentials of operators.
fn is_secret(word: &str) -> bool {
    word.starts_with("hwj1_") || word.starts_with("hwo1_")
}

/// Access tokens.
fn is_jwt(word: &str) -> bool {
    word.starts_with("eyJ")
}

fn name(word: &str, given: Option<&str>) -> String {
    let is_hex =
        (word.len() >= 32 || matches!(word.len(), 8 | 16)) && word.chars().all(|c| c.is_ascii_hexdigit());
    let is_number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    if let (true, Some(given)) = (is_number, given) {
        return given.to_owned();
    }
    match word {
        _ if is_hex => format!("HEX{}", word.len()),
        _ if is_secret(word) => "TOKEN".to_owned(),
        _ if is_jwt(word) => "JWT".to_owned(),
        _ if is_number && word.len() == 13 => "TIME".to_owned(),
        _ => word.to_owned(),
    }
}

fn shown(line: &str, ran: &Ran) -> String {
    format!("$ {line}\n{}{}[exit {}]\n\n", ran.stdout, ran.stderr, ran.code)
}

fn helps(program: &str, mut command: clap::Command, path: &str, all: &mut String) {
    let help = command.render_long_help();
    let _ = writeln!(all, "$ {program}{path} --help\n{help}");
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        helps(program, below.clone(), &format!("{path} {}", below.get_name()), all);
    }
}

#[test]
fn the_help_of_every_command_is_as_kept() {
    for (program, mut command) in [("hubward", gateway::cli::command()), ("spoke", spoke::cli::command())] {
        let mut all = String::new();
        command.build();
        helps(program, command, "", &mut all);
        let lines: Vec<&str> = all.lines().map(str::trim_end).collect();
        compare(&format!("{program}.help.txt"), &(lines.join("\n") + "\n"));
    }
}

#[test]
fn what_is_wrong_is_told_as_kept() {
    let folder = Folder::new("snapshots-wrong");
    let config = folder.at("hub.toml");
    std::fs::write(&config, "listne = 'x'\n").expect("a file");
    let spoke_config = folder.at("spoke.toml");
    std::fs::write(&spoke_config, "shedule = 'batch'\n").expect("a file");
    let absent = folder.at("absent");
    let mut all = String::new();
    for (program, words) in [
        ("hubward", vec!["--output", "json", "srve"]),
        ("hubward", vec!["srve"]),
        ("hubward", vec!["node", "show"]),
        ("hubward", vec!["token", "create", "--ttl", "soon"]),
        ("hubward", vec!["digest"]),
        ("spoke", vec!["put", "note"]),
        ("spoke", vec!["put", "note", "a", "{}", "--wait", "forever"]),
        ("hubward", vec!["--output", "json", "serve", "--listne", "x"]),
        ("hubward", vec!["--data", &absent, "tenant", "list"]),
        ("hubward", vec!["--data", &absent, "health"]),
        ("hubward", vec!["config", "check", "--config", &config]),
        ("hubward", vec!["config", "check", "--listen", "here"]),
        ("hubward", vec!["config", "check", "--database-url", "mysql://u:s3cret@h/d"]),
        (
            "hubward",
            vec!["config", "print", "--listen", "127.0.0.1:1", "--database-url", "postgres://u:s3cret@h/d"],
        ),
        ("spoke", vec!["--config", &spoke_config, "config", "check"]),
        ("spoke", vec!["--data", &absent, "config", "check", "--every-s", "0"]),
        (
            "spoke",
            vec![
                "--output",
                "json",
                "--data",
                &absent,
                "config",
                "print",
                "--schedule",
                "batch",
                "--token",
                "hwj1_s3cret",
            ],
        ),
        ("spoke", vec!["--data", &absent, "join", "--hub", "https://h:1", "--type", "edge", "--name", "n"]),
        ("spoke", vec!["--output", "json", "ptu"]),
        ("spoke", vec!["--data", &absent, "status"]),
        ("spoke", vec!["--data", &absent, "health"]),
        ("spoke", vec!["--data", &absent, "put", "note", "a", "{"]),
    ] {
        let ran = run(program, &words);
        assert!(!ran.stdout.contains("s3cret") && !ran.stderr.contains("s3cret"), "{ran:?}");
        all += &shown(&format!("{program} {}", words.join(" ")), &ran);
    }
    compare("wrong.txt", &masked(&all, &folder.path().display().to_string()));
}

#[test]
fn what_commands_answer_is_as_kept() {
    let folder = Folder::new("snapshots");
    let hub = Hub::start(&folder, true, None);
    let spoke = Spoke::join(&folder, &hub, "laptop");
    let mut all = String::new();
    let hub_data = folder.at("hub");
    let mut step = |program: &str, data: &str, words: &[&str]| {
        let ran = run(program, &[&["--data", data], words].concat());
        all += &shown(&format!("{program} {}", words.join(" ")), &ran);
    };
    step("spoke", &spoke.data, &["put", "note", "a", "{\"text\":\"one\"}"]);
    step("spoke", &spoke.data, &["outbox", "list"]);
    step("spoke", &spoke.data, &["sync"]);
    step("spoke", &spoke.data, &["get", "note", "a"]);
    step("spoke", &spoke.data, &["ls"]);
    step("spoke", &spoke.data, &["get", "note", "absent"]);
    step("spoke", &spoke.data, &["conflicts", "list"]);
    step("spoke", &spoke.data, &["export"]);
    step("hubward", &hub_data, &["health"]);
    step("hubward", &hub_data, &["tenant", "list"]);
    // What a node that was heard shows differs from run to run.
    step("hubward", &hub_data, &["node", "list", "--type", "desktop", "--health", "offline"]);
    step("hubward", &hub_data, &["node-type", "list"]);
    step("hubward", &hub_data, &["token", "create"]);
    step("hubward", &hub_data, &["record", "list"]);
    step("hubward", &hub_data, &["node", "show", "nobody"]);
    step(
        "hubward",
        &hub_data,
        &["--hub", &hub.url(), "--token-file", &folder.at("hub/operator.token"), "tenant", "list"],
    );
    compare("answers.txt", &masked(&all, &folder.path().display().to_string()));
}
