//! The table of reasons in docs/protocol.md is that of the code. `RECORD=1 cargo test -p proto` writes it.

use std::path::PathBuf;

use proto::reason::code;
use semantics::reason::Reason;

const BEGIN: &str = "<!-- reasons: RECORD=1 cargo test -p proto writes this table -->\n";
const END: &str = "<!-- end of reasons -->";

fn table() -> String {
    let head =
        "| reason | number | class | transient | gRPC code | what to do |\n|---|---|---|---|---|---|\n";
    let row = |reason: &Reason| {
        let (name, number, class) = (reason.as_str(), reason.number(), reason.class().as_str());
        let transient = if reason.is_transient() { "yes" } else { "no" };
        format!(
            "| `{name}` | {number} | {class} | {transient} | {:?} | {} |\n",
            code(*reason),
            reason.remedy()
        )
    };
    Reason::ALL.iter().map(row).fold(head.to_owned(), |text, row| text + &row)
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("RECORD").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        return;
    }
    assert_eq!(found, table());
}
