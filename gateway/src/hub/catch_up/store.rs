//! Pages from the store: by a look at each record, or by where all of them stand.

use std::sync::Arc;

use super::position::Position;
use crate::hub::error::HubError;
use crate::hub::limits::LATEST_RECORDS_MAX;
use crate::hub::{Hub, Principal};
use crate::store::{LATEST_BEHIND_MAX, Latest, LogQuery, Only, ShownPage};

impl Hub {
    /// A page from the store, and the rows that it was read by.
    pub(super) async fn shown_page(
        &self,
        who: &Principal,
        position: Option<&Position>,
        query: &LogQuery,
    ) -> Result<(ShownPage, Option<Only>), HubError> {
        if let Some(only) = self.only(who, position).await? {
            let page = self.store().shown_page(&who.tenant, query, Some(&only)).await?;
            if self.is_told_by(who, &only.latest, &page).await? {
                return Ok((page, Some(only)));
            }
            self.latest.is_over(&who.tenant, &only.latest);
        }
        Ok((self.store().shown_page(&who.tenant, query, None).await?, None))
    }

    /// The rows that are all that a reader is sent who began from nothing: after its first page, up to where it began, each
    /// record's latest alone, and nothing of what left before. A short log is not worth it.
    async fn only(&self, who: &Principal, position: Option<&Position>) -> Result<Option<Only>, HubError> {
        let from = self.parts().paging.latest_from;
        let began_from_nothing = |at: &&Position| at.origin.is_none() && at.is_plain() && at.floor.0 >= from;
        let Some(position) = position.filter(began_from_nothing).filter(|at| at.at < at.floor) else {
            return Ok(None);
        };
        let now_ms = self.clock().now_ms();
        let latest = match self.latest.find(&who.tenant, now_ms) {
            None if self.latest.is_due(&who.tenant, now_ms) => {
                let latest = self.store().latest(&who.tenant, LATEST_RECORDS_MAX).await?.map(Arc::new);
                self.latest.keep(&who.tenant, latest.clone(), now_ms);
                latest
            }
            found => found,
        };
        let only = latest.map(|latest| {
            let end = latest.head.revision;
            let to = end.min(position.floor);
            Only { latest, to }
        });
        Ok(only.filter(|only| position.at < only.to))
    }

    /// Whether what was read earlier serves for a page that was read now: it is of the same log, and of what came since nothing
    /// is missing that says what it superseded.
    async fn is_told_by(&self, who: &Principal, latest: &Latest, page: &ShownPage) -> Result<bool, HubError> {
        let (read_at, head) = (latest.head.revision, &page.head);
        let is_near = head.revision.0.saturating_sub(read_at.0) <= LATEST_BEHIND_MAX;
        let is_whole = is_near && read_at >= head.horizon;
        Ok(is_whole && self.still_holds(&who.tenant, &latest.head, head).await?)
    }
}
