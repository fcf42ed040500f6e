//! What changed in what is shown, by position: for those who watch.

use semantics::reason::Reason;

use super::Replica;
use super::store::VisibleChange;
use crate::error::{ReplicaError, refused};

impl Replica {
    /// The last position given so far: what is watched from here on comes after it.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn changes_end(&self) -> Result<u64, ReplicaError> {
        Ok(self.read().await?.changes_kept().await?.last)
    }

    /// Records whose visible state changed after a position, in the order of the changes, at most `limit` (and at
    /// most [`super::store::ROWS_MAX`]). Survives restarts of the process.
    ///
    /// # Errors
    /// `CURSOR_EXPIRED` when changes after the position are no longer kept, or the position is not one of this
    /// replica's; [`ReplicaError::Store`].
    pub async fn changes_after(
        &self,
        position: u64,
        limit: usize,
    ) -> Result<Vec<VisibleChange>, ReplicaError> {
        let mut txn = self.read().await?;
        let kept = txn.changes_kept().await?;
        if position < kept.after {
            let detail = format!(
                "changes up to position {} are no longer kept: list the records again and watch from position {}",
                kept.after, kept.last
            );
            return refused(Reason::CursorExpired, detail);
        }
        if position > kept.last {
            let detail = format!(
                "position {position} is not one of this replica, whose last is {}: list the records again and watch \
                 from there",
                kept.last
            );
            return refused(Reason::CursorExpired, detail);
        }
        Ok(txn.changes_after(position, limit).await?)
    }
}
