//! Import and export by the daemon, which owns the replica: the file is read by it, as the same user.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use proto::v1;
use semantics::cursor::Change;
use semantics::export::ExportLine;
use semantics::ids::Kind;
use semantics::reason::{Reason, Refusal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::wire;
use crate::client::Spoke;
use crate::import::{Mapping, Options, Progress};
use crate::replica::store::Range;

/// Most answers that wait for a slow reader.
const ANSWERS_MAX: usize = 8;
/// Records in one answer of an export.
const EXPORT_PAGE_ROWS: usize = 64;

type Sender<T> = mpsc::Sender<Result<T, Refusal>>;

/// Imports a file; tells how far it is and, with `done`, what it came to.
pub(crate) fn import(
    spoke: Arc<Spoke>,
    request: v1::ImportFileRequest,
) -> impl Stream<Item = Result<v1::ImportFileResponse, Refusal>> {
    streamed(|sender| async move {
        let last = run_import(&spoke, request, &sender).await;
        let _ = sender.send(last).await;
    })
}

/// Confirmed records as JSON Lines, in pieces that end with a line.
pub(crate) fn export(
    spoke: Arc<Spoke>,
    kind: Option<Kind>,
) -> impl Stream<Item = Result<v1::ExportRecordsResponse, Refusal>> {
    let range = Range { kind, ..Range::default() };
    futures::stream::try_unfold((spoke, range), |(spoke, mut range)| async move {
        let page = spoke.replica().confirmed_page(&range, EXPORT_PAGE_ROWS).await.map_err(Refusal::from)?;
        let Some((_, last)) = page.last() else { return Ok(None) };
        range.after = Some(last.key.clone());
        let mut lines = Vec::new();
        for (revision, record) in page.into_iter().filter(|(_, record)| !record.is_deleted()) {
            let line = ExportLine::from(&Change { revision, record });
            let failed = |e| Refusal::new(Reason::Internal, format!("a line cannot be written: {e}"));
            serde_json::to_writer(&mut lines, &line).map_err(failed)?;
            lines.push(b'\n');
        }
        Ok(Some((v1::ExportRecordsResponse { lines }, (spoke, range))))
    })
}

/// What a task sends, as a stream; the task runs inside of it and ends when nobody listens.
fn streamed<T, F>(work: impl FnOnce(Sender<T>) -> F) -> impl Stream<Item = Result<T, Refusal>>
where
    F: Future<Output = ()>,
{
    let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
    let work = work(sender).into_stream().filter_map(|()| async { None });
    futures::stream::select(ReceiverStream::new(receiver), work)
}

async fn run_import(
    spoke: &Spoke,
    request: v1::ImportFileRequest,
    sender: &Sender<v1::ImportFileResponse>,
) -> Result<v1::ImportFileResponse, Refusal> {
    let options = options(&request)?;
    let mut told = 0;
    let mut progress = |at: Progress| {
        let answer = v1::ImportFileResponse {
            read: at.rows,
            bytes_done: at.bytes,
            bytes_total: at.bytes_total,
            ..Default::default()
        };
        // A reader that is slow misses a word about progress, nothing else.
        if at.bytes.saturating_sub(told) > at.bytes_total / 50 {
            told = at.bytes;
            let _ = sender.try_send(Ok(answer));
        }
    };
    let path = PathBuf::from(&request.path);
    let summary = spoke.import(&path, &options, &mut progress).await?;
    Ok(v1::ImportFileResponse {
        read: summary.read,
        written: summary.written,
        unchanged: summary.unchanged,
        passed_over: summary.passed_over,
        rejected: summary.rejected,
        rejected_file: summary.rejected_file.map(|file| file.display().to_string()).unwrap_or_default(),
        done: true,
        ..Default::default()
    })
}

fn options(request: &v1::ImportFileRequest) -> Result<Options, Refusal> {
    let kind = wire::kind_or_all(&request.kind)?;
    let mapping = match &request.mapping {
        Some(name_or_path) => Mapping::load(name_or_path)?,
        None => Mapping::default(),
    };
    Ok(Options {
        kind,
        id_fields: request.id_fields.clone(),
        mapping,
        rejected: request.rejected.as_ref().map(PathBuf::from),
    })
}
