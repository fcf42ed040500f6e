//! Digests of the confirmed layer, made from its content and not from what was noted when it came, so that a damaged
//! row shows.

use semantics::digest::{content_digest, record_digest};
use semantics::envelope::Record;
use semantics::ids::{Digest, Revision};
use semantics::lthash::LtHash;

use super::pages::ROWS_AT_ONCE;
use super::store::Range;
use super::{Replica, state};
use crate::error::ReplicaError;

impl Replica {
    /// Digest of the live confirmed records: whole envelopes, so that it equals the hub's at the same cursor.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn confirmed_digest(&self) -> Result<(Revision, Digest), ReplicaError> {
        let of = |record: &Record| (!record.is_deleted()).then(|| record_digest(record));
        self.sum(of).await.map(|(revision, sum)| (revision, sum.finish()))
    }

    /// Digest of what the live confirmed records say: key and body. It is the same in every tenant that holds the
    /// same; the hub's own kinds do not count.
    ///
    /// # Errors
    /// [`ReplicaError::Store`].
    pub async fn content_digest(&self) -> Result<(Revision, Digest), ReplicaError> {
        self.sum(content_digest).await.map(|(revision, sum)| (revision, sum.finish_contents()))
    }

    async fn sum(&self, of: impl Fn(&Record) -> Option<Digest>) -> Result<(Revision, LtHash), ReplicaError> {
        let mut txn = self.read().await?;
        let revision = state::cursor(&mut *txn).await?.map_or(Revision::ZERO, |cursor| cursor.revision);
        let mut sum = LtHash::empty();
        let mut range = Range::default();
        loop {
            let rows = txn.confirmed_page(&range, ROWS_AT_ONCE).await?;
            let Some(last) = rows.last() else { return Ok((revision, sum)) };
            range.after = Some(last.record.key.clone());
            let digests: Vec<Digest> = rows.iter().filter_map(|row| of(&row.record)).collect();
            sum.extend(&digests);
        }
    }
}
