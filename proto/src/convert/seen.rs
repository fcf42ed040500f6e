//! Who holds a change.

use semantics::ids::Revision;
use semantics::seen::{SEEN_REVISIONS_MAX, Seen};

use crate::shape::{ShapeError, at_most};
use crate::v1;

impl From<Seen> for v1::SeenCount {
    fn from(seen: Seen) -> Self {
        Self { revision: seen.revision.0, seen: seen.seen, able: seen.able }
    }
}

impl From<v1::SeenCount> for Seen {
    fn from(count: v1::SeenCount) -> Self {
        Self { revision: Revision(count.revision), seen: count.seen, able: count.able }
    }
}

impl TryFrom<v1::CountSeenResponse> for Vec<Seen> {
    type Error = ShapeError;
    fn try_from(answer: v1::CountSeenResponse) -> Result<Self, ShapeError> {
        at_most("counts", answer.counts.len(), SEEN_REVISIONS_MAX, "elements")?;
        Ok(answer.counts.into_iter().map(Into::into).collect())
    }
}
