//! The log as its readers are sent it: rows that say something to somebody, their records as they go on the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use semantics::commit::Head;
use semantics::cursor::Change;
use semantics::envelope::{Cell, Record};
use semantics::ids::{Key, Revision};

use super::{CellRow, Current, Departed, LogEntry, StoreError};

/// Most rows that are looked at for one page of them.
pub const LOOKED_AT_MAX: usize = 8 * 1024;

/// A record on its way to readers.
#[derive(Debug, Clone)]
pub enum Sent {
    /// As a value, which many may be sent.
    Record(Arc<Record>),
    /// As on the wire, as it was stored: what it is made of is looked at by whoever it is sent to.
    Wire(Bytes),
}

impl Sent {
    /// As on the wire.
    #[must_use]
    pub fn to_wire(&self) -> Bytes {
        match self {
            Self::Record(record) => proto::v1::Record::from(&**record).encode_to_vec().into(),
            Self::Wire(bytes) => bytes.clone(),
        }
    }

    /// As a value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what was stored is no record.
    pub fn to_record(&self) -> Result<Record, StoreError> {
        let broken = |error: &dyn std::fmt::Display| StoreError::Corrupt(format!("table log: {error}"));
        match self {
            Self::Record(record) => Ok((**record).clone()),
            Self::Wire(bytes) => {
                let record = proto::v1::Record::decode(bytes.clone()).map_err(|error| broken(&error))?;
                Record::try_from(record).map_err(|error| broken(&error))
            }
        }
    }
}

/// A record that came or changed.
#[derive(Debug, Clone)]
pub struct ShownChange {
    /// The revision.
    pub revision: Revision,
    /// The record from there on.
    pub record: Sent,
}

impl ShownChange {
    /// As a value.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what was stored is no record.
    pub fn to_change(&self) -> Result<Change, StoreError> {
        Ok(Change { revision: self.revision, record: self.record.to_record()? })
    }
}

/// A row of the log, and where its record is now.
#[derive(Debug, Clone)]
pub struct ShownRow {
    /// Its number.
    pub revision: Revision,
    /// Its record's name.
    pub key: Key,
    /// The cell the record lies in from here on.
    pub cell: Cell,
    /// The cell it left, if it moved.
    pub departed: Option<Departed>,
    /// The record's latest revision and its cell; `None` when it was collected.
    pub now: Option<(Revision, Cell)>,
    /// What the record weighs, bytes.
    pub weight: usize,
    /// The record from here on.
    pub record: Sent,
}

impl From<LogEntry> for ShownRow {
    fn from(entry: LogEntry) -> Self {
        let LogEntry { row, now } = entry;
        Self {
            revision: row.revision,
            key: row.record.key.clone(),
            cell: row.cell,
            departed: row.departed,
            now: now.map(|pointer| (pointer.revision, pointer.cell)),
            weight: row.record.weight(),
            record: Sent::Record(Arc::new(row.record)),
        }
    }
}

/// A page of them.
#[derive(Debug, Clone)]
pub struct ShownPage {
    /// The head.
    pub head: Head,
    /// Rows in revision order.
    pub rows: Vec<ShownRow>,
    /// The last row that was looked at; that which the page follows when there is none.
    pub last: Revision,
    /// Whether nothing lies between that and the head.
    pub reaches_head: bool,
    /// The records asked for.
    pub current: BTreeMap<Key, Current>,
    /// All cell hashes where `has_cells`, else none.
    pub cells: Vec<CellRow>,
    /// As in [`super::LogPage`].
    pub has_cells: bool,
}
