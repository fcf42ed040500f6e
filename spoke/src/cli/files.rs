//! `spoke import` and `spoke export`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use proto::v1;
use semantics::reason::{Reason, Refusal};
use serde_json::json;

use super::access::Access;
use super::args::Import;
use super::print::{self, Printer};
use crate::import::Mapping;

pub(super) async fn import(access: &mut Access, import: Import, printer: Printer) -> Result<(), Refusal> {
    let request = v1::ImportFileRequest {
        path: absolute(&import.file)?,
        kind: import.kind.unwrap_or_default(),
        id_fields: import.id,
        mapping: import.mapping.map(mapping).transpose()?,
        rejected: import.rejected.as_deref().map(absolute).transpose()?,
    };
    let mut answers = access.import(request).await?;
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        if answer.done {
            let file = Some(&answer.rejected_file).filter(|file| !file.is_empty());
            printer.show(&json!({
                "read": answer.read,
                "written": answer.written,
                "unchanged": answer.unchanged,
                "passed_over": answer.passed_over,
                "rejected": answer.rejected,
                "rejected_file": file,
            }))?;
            return if answer.read > 0 && answer.rejected == answer.read {
                Err(nothing_taken(&answer))
            } else {
                Ok(())
            };
        }
        if std::io::stderr().is_terminal() {
            print::note(&format!(
                "{} rows, {} of {} bytes",
                answer.read, answer.bytes_done, answer.bytes_total
            ));
        }
    }
    Err(Refusal::new(Reason::Internal, "the import ended without an answer"))
}

/// Every row was rejected: the file is of another form than it was taken for.
fn nothing_taken(answer: &v1::ImportFileResponse) -> Refusal {
    let detail = format!(
        "all {} rows were rejected: see {}; a file of another form needs --mapping, such as mcp-memory",
        answer.read, answer.rejected_file
    );
    Refusal::new(Reason::Malformed, detail)
}

/// A built-in mapping's name as it is, else a path; a file of such a name is `./NAME`.
fn mapping(name_or_path: PathBuf) -> Result<String, Refusal> {
    match name_or_path.to_str() {
        Some(name) if Mapping::is_built_in(name) => Ok(name.to_owned()),
        _ => absolute(&name_or_path),
    }
}

/// The daemon may stand in another folder. Links are kept: what is no regular file is refused where it is read.
fn absolute(path: &Path) -> Result<String, Refusal> {
    let malformed = |what: String| Refusal::new(Reason::Malformed, format!("{}: {what}", path.display()));
    let absolute = std::path::absolute(path).map_err(|e| malformed(e.to_string()))?;
    absolute.into_os_string().into_string().map_err(|_| malformed("the path is no UTF-8".to_owned()))
}

pub(super) async fn export(access: &mut Access, kind: Option<String>) -> Result<(), Refusal> {
    let mut pieces = access.export(kind.unwrap_or_default()).await?;
    while let Some(piece) = pieces.next().await {
        print::raw(&piece?.lines)?;
    }
    Ok(())
}
