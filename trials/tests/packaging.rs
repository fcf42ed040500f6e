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
    let built = file.lines().find(|line| line.starts_with("RUN cargo build")).expect("it is built");
    assert!(
        built.contains("--workspace") && built.contains("--locked"),
        "with the features that are tested: {built}"
    );
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

/// Inline code of a text, spans that go over the end of a line included; blocks of code left out.
fn spans(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut is_block = false;
    for line in text.lines() {
        is_block ^= line.starts_with("```");
        if !is_block && !line.starts_with("```") {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What is wrong with a command that prose names, be it without values and without all that it needs.
fn named(span: &str) -> Option<String> {
    use clap::error::ErrorKind;
    let plain = span.split(['…', '>', '|']).next()?.replace(['[', ']'], " ");
    let words = words(&plain);
    let command = match words.first()?.as_str() {
        "hubward" => gateway::cli::command(),
        _ => spoke::cli::command(),
    };
    let error = command.try_get_matches_from(&words).err()?;
    let is_only_short = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
    );
    (!is_only_short).then(|| format!("{span}: {error}"))
}

/// Diagrams have more than one space after a name.
fn is_command(line: &str) -> bool {
    let after = line.strip_prefix("hubward ").or_else(|| line.strip_prefix("spoke "));
    after.is_some_and(|after| !after.starts_with(' '))
}

/// What nodes sign: words of the protocol, no command.
const NO_COMMANDS: &[&str] = &["hubward join v1", "hubward access"];

#[test]
fn commands_in_the_docs_exist() {
    let files = text_files(&root()).unwrap_or_else(|e| panic!("{e}"));
    let (mut whole, mut short, mut wrong) = (0, 0, Vec::new());
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let mut is_code = false;
        for line in file.text.lines() {
            is_code ^= line.starts_with("```");
            if is_code && is_command(line) {
                wrong.extend(complaint(&words(line)).map(|why| format!("{}: {why}", file.path)));
                whole += 1;
            }
        }
        for span in spans(&file.text) {
            if is_command(&span) && !NO_COMMANDS.contains(&span.as_str()) {
                wrong.extend(named(&span).map(|why| format!("{}: {why}", file.path)));
                short += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(whole > 10 && short > 40, "only {whole} and {short} commands were found");
}

#[test]
fn operator_commands_in_the_table_exist() {
    let operations = read("docs/operations.md");
    let section = operations.split("## Operator commands").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its end");
    let mut seen = 0;
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let named_here = spans(row.split(" | ").next().unwrap_or_default());
        // What begins with a hyphen is another form of the command before it; the head of the table is none.
        for span in named_here.iter().filter(|span| !span.starts_with('-') && !span.ends_with('…')) {
            assert_eq!(named(&format!("hubward {span}")), None);
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} commands were found");
}

#[test]
fn what_refusals_tell_to_do_can_be_done() {
    for reason in semantics::reason::Reason::ALL {
        for span in spans(reason.remedy()).iter().filter(|span| is_command(span)) {
            assert_eq!(named(span), None, "{}", reason.as_str());
        }
    }
}
