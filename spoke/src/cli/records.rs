//! Reading, writing, syncing.

use std::io::Read;

use proto::v1;
use semantics::envelope::BODY_BYTES_MAX;
use semantics::reason::{Reason, Refusal};
use serde_json::{Map, Value, json};

use super::access::Access;
use super::args::Ls;
use super::print::{self, Printer, record};

/// Rows asked for at once.
const PAGE_ROWS: i32 = 500;
/// A body may be written with more bytes than its canonical form has.
const INPUT_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// What to do about entries that were set aside.
const SET_ASIDE: &str = "`spoke outbox list` says why each was refused; then `spoke outbox retry MUTATION` writes it \
                         anew, and `spoke outbox drop MUTATION` gives it up";
/// Milliseconds in a second.
const SECOND_MS: u64 = 1000;

pub(super) async fn sync(access: &mut Access, timeout_s: u64, printer: Printer) -> Result<(), Refusal> {
    let timeout_ms = Some(timeout_s.saturating_mul(SECOND_MS));
    let answer = access.sync(v1::SyncNowRequest { timeout_ms }).await?;
    let mut shown = json!({
        "revision": answer.revision,
        "set_aside": answer.set_aside,
        "set_aside_before": answer.set_aside_before,
    });
    if answer.set_aside + answer.set_aside_before > 0 {
        shown["remedy"] = json!(SET_ASIDE);
    }
    printer.show(&shown)
}

pub(super) async fn get(
    access: &mut Access,
    kind: String,
    id: String,
    printer: Printer,
) -> Result<(), Refusal> {
    let answer = access.get(v1::GetRecordRequest { key: Some(v1::Key { kind, id }) }).await?;
    printer.show(&Value::Object(record(&answer.record.unwrap_or_default())))
}

pub(super) async fn ls(access: &mut Access, ls: Ls, printer: Printer) -> Result<(), Refusal> {
    let (where_field, where_value) = equals(ls.equals.as_deref())?;
    let limit = ls.limit.unwrap_or(usize::MAX);
    let mut request = v1::ListRecordsRequest {
        page_size: rows_of(limit),
        page_token: String::new(),
        kind: ls.kind.unwrap_or_default(),
        prefix: ls.prefix,
        where_field,
        where_value,
    };
    let mut records = Vec::new();
    loop {
        let page = access.list(request.clone()).await?;
        records.extend(page.records.iter().map(|view| Value::Object(record(view))));
        request.page_token = page.next_page_token;
        request.page_size = rows_of(limit.saturating_sub(records.len()));
        if request.page_token.is_empty() || records.len() >= limit {
            records.truncate(limit);
            return printer.show(&json!({"records": records}));
        }
    }
}

/// Rows to ask for where so many are wanted; at least one, because none would mean the usual number.
fn rows_of(wanted: usize) -> i32 {
    i32::try_from(wanted).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS)
}

/// `FIELD=VALUE`, where a value that is no JSON is text.
fn equals(text: Option<&str>) -> Result<(String, String), Refusal> {
    let Some(text) = text else { return Ok((String::new(), String::new())) };
    let malformed = || Refusal::new(Reason::Malformed, format!("--where {text}: FIELD=VALUE is needed"));
    let (field, value) = text.split_once('=').filter(|(field, _)| !field.is_empty()).ok_or_else(malformed)?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((field.to_owned(), value.to_string()))
}

pub(super) async fn status(access: &mut Access, printer: Printer) -> Result<(), Refusal> {
    let answer = access.status(v1::GetStatusRequest {}).await?;
    let mut status: Map<String, Value> = serde_json::from_slice(&answer.status)
        .map_err(|e| Refusal::new(Reason::Internal, format!("the status cannot be read: {e}")))?;
    status.insert("daemon".to_owned(), json!(matches!(access, Access::Daemon(_))));
    printer.show(&Value::Object(status))
}

pub(super) async fn digest(access: &mut Access, content: bool, printer: Printer) -> Result<(), Refusal> {
    let answer = access.digest(v1::GetDigestRequest { content }).await?;
    let name = if content { "content_digest" } else { "digest" };
    printer.show(&json!({"revision": answer.revision, name: hex::encode(answer.digest)}))
}

/// A JSON object from the command line, or with `-` from standard input.
pub(super) fn input(text: &str) -> Result<Map<String, Value>, Refusal> {
    let mut read = Vec::new();
    if text == "-" {
        let bound = u64::try_from(INPUT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let failed = |e| Refusal::new(Reason::Malformed, format!("standard input: {e}"));
        std::io::stdin().lock().take(bound).read_to_end(&mut read).map_err(failed)?;
    } else {
        read.extend_from_slice(text.as_bytes());
    }
    if read.len() > INPUT_BYTES_MAX {
        return Err(Refusal::new(Reason::TooLarge, format!("more than {INPUT_BYTES_MAX} bytes")));
    }
    semantics::canonical::object_from_json(&read)
        .map_err(|refusal| Refusal::new(refusal.reason, format!("the body: {}", refusal.detail)))
}

pub(super) fn to_bytes(object: &Map<String, Value>) -> Vec<u8> {
    // An object of values that were parsed can always be written.
    serde_json::to_vec(object).unwrap_or_default()
}

/// A change as a line of JSON.
pub(super) fn print_change(change: &v1::WatchRecordsResponse) -> Result<(), Refusal> {
    let mut line = record(change.record.as_ref().unwrap_or(&v1::RecordView::default()));
    line.insert("position".to_owned(), json!(change.position));
    print::line(&Value::Object(line).to_string())
}
