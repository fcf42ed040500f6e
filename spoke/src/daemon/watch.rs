//! Watching: changes of what the replica shows, by position, as they become visible.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use proto::v1;
use semantics::ids::Kind;
use semantics::reason::Refusal;
use tokio::sync::watch;

use super::wire;
use crate::client::Spoke;
use crate::replica::store::{ROWS_MAX, VisibleChange};
use crate::runtime::Progress;

struct Watch {
    spoke: Arc<Spoke>,
    kind: Option<Kind>,
    position: u64,
    found: VecDeque<VisibleChange>,
    writes: watch::Receiver<u64>,
    progress: watch::Receiver<Progress>,
}

/// The changes after a position, or from now on. A record that changed several times meanwhile may be told once for
/// each, always as it is when told. The stream ends when the spoke does.
///
/// # Errors
/// `MALFORMED`, `CURSOR_EXPIRED`.
pub(crate) async fn changes(
    spoke: Arc<Spoke>,
    request: v1::WatchRecordsRequest,
) -> Result<impl Stream<Item = Result<v1::WatchRecordsResponse, Refusal>>, Refusal> {
    let kind = wire::kind_or_all(&request.kind)?;
    let position = match request.after {
        Some(position) => position,
        None => spoke.replica().changes_end().await?,
    };
    let (writes, progress) = (spoke.writes(), spoke.progress());
    let mut watch = Watch { spoke, kind, position, found: VecDeque::new(), writes, progress };
    // A position that is no longer kept is told at once and not in the stream.
    watch.look().await?;
    Ok(futures::stream::try_unfold(watch, |mut watch| async move {
        Ok(watch.next().await?.map(|response| (response, watch)))
    }))
}

impl Watch {
    async fn look(&mut self) -> Result<(), Refusal> {
        // What moves from here on is seen by the next wait.
        self.writes.mark_unchanged();
        self.progress.mark_unchanged();
        let found = self.spoke.replica().changes_after(self.position, ROWS_MAX).await?;
        if let Some(last) = found.last() {
            self.position = last.position;
        }
        let is_asked =
            |change: &VisibleChange| self.kind.as_ref().is_none_or(|kind| *kind == change.key.kind);
        self.found.extend(found.into_iter().filter(is_asked));
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<v1::WatchRecordsResponse>, Refusal> {
        loop {
            if let Some(change) = self.found.pop_front() {
                return self.told(change).await.map(Some);
            }
            let before = self.position;
            self.look().await?;
            if self.position != before {
                continue;
            }
            let moved = tokio::select! {
                moved = self.writes.changed() => moved,
                moved = self.progress.changed() => moved,
            };
            if moved.is_err() {
                return Ok(None);
            }
        }
    }

    async fn told(&self, change: VisibleChange) -> Result<v1::WatchRecordsResponse, Refusal> {
        let item = self.spoke.replica().look(&change.key).await?;
        let record = item.map_or_else(
            || v1::RecordView { key: Some(change.key.into()), deleted: true, ..Default::default() },
            |item| wire::view(&item),
        );
        Ok(v1::WatchRecordsResponse { position: change.position, record: Some(record) })
    }
}
