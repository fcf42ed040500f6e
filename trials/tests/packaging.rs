//! What ships beside the binaries says only what they understand: container files, units, commands in the docs.
#![allow(clippy::panic, clippy::expect_used, reason = "a panic is how a test fails")]

use serde_yaml_ng::Value;
use trials::tree::{root, text_files};

/// Whether the command line of one of the binaries takes these words.
fn complaint(words: &[String]) -> Option<String> {
    let program = words.first()?.rsplit('/').next()?;
    let command = match program {
        "hubward" => gateway::cli::command(),
        "spoke" => spoke::cli::command(),
        other => return Some(format!("{other} is no program of ours")),
    };
    let error = command.try_get_matches_from(words).err()?;
    error.use_stderr().then(|| format!("{words:?}: {error}"))
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            ('#', None) if word.is_empty() => break,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)))
            }
            (c, _) => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Variables that the commands read, as their help and their code name them.
fn is_variable(name: &str) -> bool {
    let commands = [gateway::cli::command(), spoke::cli::command()];
    let mut below: Vec<clap::Command> = commands.to_vec();
    while let Some(command) = below.pop() {
        if command.get_arguments().filter_map(clap::Arg::get_env).any(|env| env == name) {
            return true;
        }
        below.extend(command.get_subcommands().cloned());
    }
    ["HUBWARD_LOG", "SPOKE_LOG", "HUBWARD_TOKEN"].contains(&name)
}

fn list(value: &Value) -> Vec<String> {
    let parts = value.as_sequence().expect("a list");
    parts.iter().map(|part| part.as_str().expect("text").to_owned()).collect()
}

#[test]
fn the_container_runs_commands_that_exist() {
    let file = read("Dockerfile");
    let json = |instruction: &str| -> Vec<String> {
        let line = file.lines().find_map(|line| line.split_once(instruction)).expect(instruction).1;
        list(&serde_yaml_ng::from_str(line).expect("a JSON list"))
    };
    let (entry, usual) = (json("ENTRYPOINT "), json("\nCMD ".trim_start()));
    let health = json("--retries=3 CMD ");
    assert_eq!(complaint(&health), None);
    let serve: Vec<String> = file
        .lines()
        .find(|line| line.starts_with("CMD "))
        .map(|line| list(&serde_yaml_ng::from_str(&line[4..]).expect("a JSON list")))
        .expect("CMD");
    assert_eq!(usual, health, "the first CMD of the file is the health check's");
    assert_eq!(complaint(&[entry, serve].concat()), None);
    assert!(file.lines().any(|line| line.starts_with("USER ") && line != "USER root"));
    for line in file.lines().filter_map(|line| line.strip_prefix("ENV ")) {
        let name = line.split('=').next().unwrap_or_default();
        assert!(is_variable(name), "{name}");
    }
}

#[test]
fn the_compose_file_sets_variables_that_exist_and_starts_on_sqlite_unless_asked() {
    let file = read("docker-compose.yml");
    let compose: Value = serde_yaml_ng::from_str(&file).expect("YAML");
    let services = compose["services"].as_mapping().expect("services");
    for (name, service) in services {
        let name = name.as_str().expect("a name");
        assert_eq!(service.get("profiles").is_none(), name == "hub", "{name}");
        for (variable, _) in service["environment"].as_mapping().into_iter().flatten() {
            let variable = variable.as_str().expect("a name");
            assert!(variable.starts_with("POSTGRES_") || is_variable(variable), "{variable}");
        }
        for secret in service.get("secrets").map(list).unwrap_or_default() {
            assert!(compose["secrets"].get(secret.as_str()).is_some(), "{secret}");
        }
    }
    for line in file.lines().filter_map(|line| line.split_once(" exec hub ")) {
        assert_eq!(complaint(&words(line.1)), None);
    }
}

#[test]
fn the_units_start_commands_that_exist() {
    for unit in ["hubward.service", "spoke@.service"] {
        let text = read(&format!("deploy/systemd/{unit}"));
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
        assert_eq!(complaint(&words(start)), None);
        for line in text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix("Environment="))
        {
            let name = line.split('=').next().unwrap_or_default();
            assert!(is_variable(name), "{name}");
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("#   ")) {
            assert_eq!(complaint(&words(line)), None);
        }
    }
}

#[test]
fn commands_in_the_docs_exist() {
    let files = text_files(&root()).unwrap_or_else(|e| panic!("{e}"));
    let mut seen = 0;
    for file in files.iter().filter(|file| ["README.md", "docs/operations.md"].contains(&file.path.as_str()))
    {
        let mut is_code = false;
        for line in file.text.lines() {
            is_code ^= line.starts_with("```");
            if is_code && (line.starts_with("hubward ") || line.starts_with("spoke ")) {
                assert_eq!(complaint(&words(line)), None, "{}", file.path);
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "only {seen} commands were found");
}
