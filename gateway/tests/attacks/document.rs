//! docs/security.md lists every attack, and no other.

use std::fmt::Write;
use std::path::PathBuf;

use super::elsewhere::ELSEWHERE;
use super::noted::Place;
use super::rows;
use super::table::{By, Heard};

const BEGIN: &str = "<!-- attacks: written by gateway/tests/attacks.rs -->\n";
const END: &str = "<!-- end of attacks -->\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table() -> String {
    let mut text = String::from("| attack | answer | written down |\n|---|---|---|\n");
    for row in rows() {
        let place = match row.place() {
            Place::Refusal(By::Nobody, _) => "access log of `hub`, by address",
            Place::Refusal(By::Node, _) => "access log, by node",
            Place::Refusal(By::Operator, _) => "access log of `hub`, by operator",
            Place::Cut(_) => "access log, as a session that was cut",
            Place::Change(_) => "log of changes",
            Place::Nowhere if matches!(row.hears, Heard::Closed(_)) => "counter",
            Place::Refusal(By::Wire, _) | Place::Nowhere => "",
        };
        writeln!(text, "| {} | {} | {place} |", row.name, row.hears).unwrap();
    }
    text.push_str("\nMade by other tests:\n\n| attack | answer | test |\n|---|---|---|\n");
    for attack in ELSEWHERE {
        writeln!(text, "| {} | {} | `{}` |", attack.name, attack.hears, attack.test).unwrap();
    }
    text
}

#[test]
fn the_document_lists_every_attack_and_no_other() {
    let path = root().join("docs/security.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the document has a place for the table");
    let (listed, after) = rest.split_once(END).expect("the place has an end");
    let table = table();
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(listed == table, "run with UPDATE_DOCUMENTS=1: the table is now\n{table}");
}

#[test]
fn the_tests_that_are_named_are_there() {
    for attack in ELSEWHERE {
        let text = std::fs::read_to_string(root().join(attack.file)).unwrap();
        let name = format!("fn {}(", attack.test);
        assert!(text.contains(&name), "{} has no {}", attack.file, attack.test);
    }
}
