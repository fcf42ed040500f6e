//! Cursors, cuts and the pages between them.

use serde::{Deserialize, Serialize};

use crate::envelope::Record;
use crate::ids::{CommitNumber, Digest, Key, LogId, Revision};
use crate::view::View;

/// A position in one tenant's log that only the hub of that log can have handed out: valid on every gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which incarnation of the log.
    pub log_id: LogId,
    /// Last commit contained.
    pub commit: CommitNumber,
    /// Last revision contained.
    pub revision: Revision,
    /// Chain at that commit.
    pub chain: Digest,
    /// Revision of the view record in force at that commit ([`Revision::ZERO`] = none written).
    pub view_revision: Revision,
}

/// One live record or tombstone as of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The revision that gave the record this state.
    pub revision: Revision,
    /// The state.
    pub record: Record,
}

/// A record that left the cells a reader may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The revision at which it left.
    pub revision: Revision,
    /// Which record.
    pub key: Key,
}

/// A moment at which a replica may show what it staged: everything up to `cursor`, under one view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Where the replica stands once it has applied the cut.
    pub cursor: Cursor,
    /// The view in force, when it differs from the one of the reader's last cursor (or there was none): what
    /// lies outside of it is dropped at the cut.
    pub view: Option<View>,
    /// Digest of the view's live records at exactly this cut, when the hub has it (see [`crate::digest`]).
    pub digest: Option<Digest>,
}

/// How a page goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Not yet a cut: ask again from here. Opaque to the reader.
    Resume(Vec<u8>),
    /// Everything up to here has been sent.
    Cut(Cut),
}

/// A bounded piece of a catch-up, or one committed batch of the live feed. Of several changes to one record the
/// highest revision wins; order inside a page means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Records that came or changed.
    pub changes: Vec<Change>,
    /// Records that left.
    pub departures: Vec<Departure>,
    /// A cut, or where to ask again.
    pub next: Next,
}

/// What a departure weighs, bytes, about.
pub const DEPARTURE_BYTES: usize = 128;

impl Page {
    /// What it takes of its reader's credit, bytes, about; at least 1.
    #[must_use]
    pub fn weight(&self) -> usize {
        let changes: usize = self.changes.iter().map(|change| change.record.weight()).sum();
        (changes + self.departures.len() * DEPARTURE_BYTES).max(1)
    }
}
