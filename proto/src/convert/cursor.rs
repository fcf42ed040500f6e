//! Cursors, views, cuts and pages.

use bytes::Bytes;
use prost::Message;
use semantics::cursor::{Change, Cursor, Cut, Departure, Next, Page};
use semantics::ids::{CommitNumber, Digest, Domain, Facet, Kind, LogId, Revision};
use semantics::view::{Selector, VIEW_SELECTORS_MAX, View};

use super::decode;
use crate::shape::{At, ShapeError, at_most, list, optional, present, required};
use crate::v1;

/// Longest resume position, bytes.
pub const RESUME_BYTES_MAX: usize = 4 * 1024;

/// Most changes and departures one batch may hold: what fits in a message. A bound for decoding; pages are smaller
/// ([`semantics::session::PAGE_CHANGES_MAX`]), a large commit is not.
const BATCH_CHANGES_MAX: usize = 65_536;

impl TryFrom<v1::Cursor> for Cursor {
    type Error = ShapeError;
    fn try_from(cursor: v1::Cursor) -> Result<Self, ShapeError> {
        Ok(Self {
            log_id: LogId::from_slice(&cursor.log_id).at("log_id")?,
            commit: CommitNumber(cursor.commit),
            revision: Revision(cursor.revision),
            chain: Digest::from_slice(&cursor.chain).at("chain")?,
            view_revision: Revision(cursor.view_revision),
        })
    }
}

impl From<&Cursor> for v1::Cursor {
    fn from(cursor: &Cursor) -> Self {
        Self {
            log_id: cursor.log_id.as_bytes().to_vec(),
            commit: cursor.commit.0,
            revision: cursor.revision.0,
            chain: cursor.chain.as_bytes().to_vec(),
            view_revision: cursor.view_revision.0,
        }
    }
}

impl TryFrom<v1::Selector> for Selector {
    type Error = ShapeError;
    fn try_from(selector: v1::Selector) -> Result<Self, ShapeError> {
        Ok(Self {
            domain: Domain::new(selector.domain).at("domain")?,
            kind: selector.kind.map(Kind::new).transpose().at("kind")?,
            facet: selector.facet.map(Facet::new).transpose().at("facet")?,
        })
    }
}

impl From<&Selector> for v1::Selector {
    fn from(selector: &Selector) -> Self {
        Self {
            domain: selector.domain.to_string(),
            kind: selector.kind.as_ref().map(ToString::to_string),
            facet: selector.facet.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<v1::View> for View {
    type Error = ShapeError;
    fn try_from(view: v1::View) -> Result<Self, ShapeError> {
        Ok(Self { cells: list("cells", view.cells, VIEW_SELECTORS_MAX)?.into_iter().collect() })
    }
}

impl From<&View> for v1::View {
    fn from(view: &View) -> Self {
        Self { cells: view.cells.iter().map(Into::into).collect() }
    }
}

impl TryFrom<v1::Cut> for Cut {
    type Error = ShapeError;
    fn try_from(cut: v1::Cut) -> Result<Self, ShapeError> {
        Ok(Self {
            cursor: required("cursor", cut.cursor)?,
            view: optional("view", cut.view)?,
            digest: cut.digest.map(|digest| Digest::from_slice(&digest)).transpose().at("digest")?,
        })
    }
}

impl From<&Cut> for v1::Cut {
    fn from(cut: &Cut) -> Self {
        Self {
            cursor: Some((&cut.cursor).into()),
            view: cut.view.as_ref().map(Into::into),
            digest: cut.digest.map(|digest| digest.as_bytes().to_vec()),
        }
    }
}

impl TryFrom<v1::Change> for Change {
    type Error = ShapeError;
    fn try_from(change: v1::Change) -> Result<Self, ShapeError> {
        let record = present("record", change.record)?;
        Ok(Self { revision: Revision(change.revision), record: (*record).try_into().at("record")? })
    }
}

impl From<&Change> for v1::Change {
    fn from(change: &Change) -> Self {
        Self { revision: change.revision.0, record: Some(Box::new((&change.record).into())) }
    }
}

impl TryFrom<v1::Departure> for Departure {
    type Error = ShapeError;
    fn try_from(departure: v1::Departure) -> Result<Self, ShapeError> {
        Ok(Self { revision: Revision(departure.revision), key: required("key", departure.key)? })
    }
}

impl From<&Departure> for v1::Departure {
    fn from(departure: &Departure) -> Self {
        Self { revision: departure.revision.0, key: Some((&departure.key).into()) }
    }
}

/// A [`v1::Change`] whose record is bytes already.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedChange {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(bytes = "bytes", tag = "2")]
    record: Bytes,
}

/// A [`v1::ChangeBatch`] of them.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedBatch {
    #[prost(message, repeated, tag = "1")]
    changes: Vec<EncodedChange>,
    #[prost(message, repeated, tag = "2")]
    departures: Vec<v1::Departure>,
}

/// The bytes of a batch, made once and sent to many, of changes whose records are bytes already.
#[must_use]
pub fn encode_batch(changes: impl Iterator<Item = (Revision, Bytes)>, departures: &[Departure]) -> Bytes {
    let changes = changes.map(|(revision, record)| EncodedChange { revision: revision.0, record });
    let departures = departures.iter().map(Into::into).collect();
    EncodedBatch { changes: changes.collect(), departures }.encode_to_vec().into()
}

/// What a batch holds.
///
/// # Errors
/// [`ShapeError`] when the bytes are no batch, or one of the wrong shape.
pub fn decode_batch(bytes: &[u8]) -> Result<(Vec<Change>, Vec<Departure>), ShapeError> {
    let batch: v1::ChangeBatch = decode(bytes)?;
    let changes = list("changes", batch.changes, BATCH_CHANGES_MAX)?;
    Ok((changes, list("departures", batch.departures, BATCH_CHANGES_MAX)?))
}

impl TryFrom<v1::Changes> for Page {
    type Error = ShapeError;
    fn try_from(page: v1::Changes) -> Result<Self, ShapeError> {
        let next = match present("next", page.next)? {
            v1::changes::Next::Resume(resume) => Next::Resume(resume_position("resume", resume)?),
            v1::changes::Next::Cut(cut) => Next::Cut(cut.try_into().at("cut")?),
        };
        let (changes, departures) = decode_batch(&page.batch).at("batch")?;
        Ok(Self { changes, departures, next })
    }
}

impl From<&Next> for v1::changes::Next {
    fn from(next: &Next) -> Self {
        match next {
            Next::Resume(resume) => Self::Resume(resume.clone()),
            Next::Cut(cut) => Self::Cut(cut.into()),
        }
    }
}

impl From<&Page> for v1::Changes {
    fn from(page: &Page) -> Self {
        let cost = u64::try_from(page.weight()).unwrap_or(u64::MAX);
        let record = |change: &Change| v1::Record::from(&change.record).encode_to_vec().into();
        let changes = page.changes.iter().map(|change| (change.revision, record(change)));
        Self { batch: encode_batch(changes, &page.departures), next: Some((&page.next).into()), cost }
    }
}

/// Checks the length of a resume position.
pub(super) fn resume_position(field: &str, resume: Vec<u8>) -> Result<Vec<u8>, ShapeError> {
    at_most(field, resume.len(), RESUME_BYTES_MAX, "bytes")?;
    Ok(resume)
}

/// Where a pull reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullFrom {
    /// From nothing.
    Start,
    /// From a cut.
    Cursor(Cursor),
    /// From the end of a page; opaque.
    Resume(Vec<u8>),
}

impl TryFrom<v1::PullRequest> for PullFrom {
    type Error = ShapeError;
    fn try_from(request: v1::PullRequest) -> Result<Self, ShapeError> {
        match present("from", request.from)? {
            v1::pull_request::From::Start(v1::Start {}) => Ok(Self::Start),
            v1::pull_request::From::Cursor(cursor) => Ok(Self::Cursor(cursor.try_into().at("cursor")?)),
            v1::pull_request::From::Resume(resume) => Ok(Self::Resume(resume_position("resume", resume)?)),
        }
    }
}

impl From<&PullFrom> for v1::PullRequest {
    fn from(from: &PullFrom) -> Self {
        let from = match from {
            PullFrom::Start => v1::pull_request::From::Start(v1::Start {}),
            PullFrom::Cursor(cursor) => v1::pull_request::From::Cursor(cursor.into()),
            PullFrom::Resume(resume) => v1::pull_request::From::Resume(resume.clone()),
        };
        Self { from: Some(from) }
    }
}
