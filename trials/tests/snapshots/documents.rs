//! The tables of commands in docs/operations.md and the commands that there are.

use std::collections::BTreeSet;

use trials::tree::root;

use super::tour::leaves;

/// The rows of the table whose head names a program: what stands in backquotes in their first cells.
fn told(document: &str, program: &str) -> Vec<String> {
    let head = format!("| `{program} …` | |");
    let table = document.lines().skip_while(|line| *line != head).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let first = rows.filter_map(|row| row.trim_start_matches('|').split_once(" | ").map(|(cell, _)| cell));
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The command that a row is about; `None` for further flags of the one before.
fn command_of<'a>(told: &str, commands: &'a BTreeSet<String>) -> Option<&'a String> {
    let is_it = |command: &&String| {
        told.strip_prefix(command.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    commands.iter().find(is_it)
}

#[test]
fn the_tables_of_commands_are_complete_and_name_no_other() {
    let document = std::fs::read_to_string(root().join("docs/operations.md")).expect("the document");
    for (program, command) in [("hubward", gateway::cli::command()), ("spoke", spoke::cli::command())] {
        let mut all = Vec::new();
        leaves(program, &command, &mut all);
        let without_program = |leaf: String| leaf[program.len() + 1..].to_owned();
        let commands: BTreeSet<String> = all.into_iter().map(without_program).collect();
        let told = told(&document, program);
        let mut found = BTreeSet::new();
        for told in told.iter().filter(|told| !told.starts_with("--")) {
            let command = command_of(told, &commands);
            found.insert(command.unwrap_or_else(|| panic!("{program} has no `{told}`")).clone());
        }
        let missing: Vec<_> = commands.difference(&found).collect();
        assert!(missing.is_empty(), "docs/operations.md does not tell of {program} {missing:?}");
    }
}

#[test]
fn every_flag_that_the_tables_name_is_one_of_the_command() {
    let document = std::fs::read_to_string(root().join("docs/operations.md")).expect("the document");
    for (program, mut command) in [("hubward", gateway::cli::command()), ("spoke", spoke::cli::command())] {
        command.build();
        let mut of = &command;
        for told in told(&document, program) {
            let words = told.split([' ', '[', ']']).filter(|word| !word.is_empty());
            if !told.starts_with("--") {
                of = &command;
            }
            for word in words {
                match word.strip_prefix("--") {
                    Some(flag) => {
                        let is_there = of.get_arguments().any(|arg| arg.get_long() == Some(flag));
                        assert!(is_there, "{program} {} has no --{flag}", of.get_name());
                    }
                    None => of = of.find_subcommand(word).unwrap_or(of),
                }
            }
        }
    }
}
