//! Between domain values and the columns of both SQL engines: integers and bytes, nothing else. Ids and names are
//! stored as bytes (no locale, U+0000 included), envelopes as the protobuf bytes that travel on the wire.

use semantics::envelope::Cell;
use semantics::ids::{Domain, Facet, IdError, Key, Kind, RecordId};

use super::StoreError;

pub(super) mod read;
pub(super) mod rows;
pub(super) mod write;

/// One column's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// An integer, or null.
    Int(Option<i64>),
    /// Bytes, or null.
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// A number that a signed column holds; what is stored never comes near the bound.
    pub(super) fn number(number: u64) -> Self {
        Self::Int(Some(clamped(number)))
    }
    /// Bytes.
    pub(super) fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(Some(bytes.into()))
    }
    /// A text's bytes.
    pub(super) fn text(text: &str) -> Self {
        Self::Bytes(Some(text.as_bytes().to_vec()))
    }
}

/// A number as a bound or as a limit: past the columns' range nothing lies.
pub(super) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row of either engine.
pub(super) trait Columns: Send {
    /// An integer column, by position.
    fn int(&self, at: usize) -> Result<Option<i64>, StoreError>;
    /// A bytes column, by position.
    fn bytes(&self, at: usize) -> Result<Option<&[u8]>, StoreError>;
}

/// Reads a row's columns from left to right.
#[derive(Debug)]
pub(super) struct Cursor<'a, R> {
    row: &'a R,
    table: &'static str,
    at: usize,
}

impl<'a, R: Columns> Cursor<'a, R> {
    pub(super) fn new(row: &'a R, table: &'static str) -> Self {
        Self { row, table, at: 0 }
    }
    /// Begins behind so many columns.
    pub(super) fn behind(row: &'a R, columns: usize, table: &'static str) -> Self {
        Self { row, table, at: columns }
    }
    /// Goes on with another table's columns.
    pub(super) fn table(&mut self, table: &'static str) {
        self.table = table;
    }
    /// Passes over columns.
    pub(super) fn skip(&mut self, columns: usize) {
        self.at += columns;
    }
    /// Says which table holds something that does not decode.
    pub(super) fn corrupt(&self, what: impl std::fmt::Display) -> StoreError {
        StoreError::Corrupt(format!("table {}: {what}", self.table))
    }
    fn null(&self) -> StoreError {
        self.corrupt(format_args!("column {} is null", self.at))
    }
    pub(super) fn maybe_int(&mut self) -> Result<Option<i64>, StoreError> {
        self.at += 1;
        self.row.int(self.at - 1)
    }
    pub(super) fn int(&mut self) -> Result<i64, StoreError> {
        self.maybe_int()?.ok_or_else(|| self.null())
    }
    pub(super) fn maybe_number(&mut self) -> Result<Option<u64>, StoreError> {
        let found = self.maybe_int()?;
        found.map(|int| u64::try_from(int).map_err(|_| self.corrupt("a number below zero"))).transpose()
    }
    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        self.maybe_number()?.ok_or_else(|| self.null())
    }
    pub(super) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }
    pub(super) fn maybe_bytes(&mut self) -> Result<Option<&'a [u8]>, StoreError> {
        self.at += 1;
        self.row.bytes(self.at - 1)
    }
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        self.maybe_bytes()?.ok_or_else(|| self.null())
    }
    /// An identifier of a fixed length.
    pub(super) fn id<T>(&mut self, make: impl FnOnce(&[u8]) -> Result<T, IdError>) -> Result<T, StoreError> {
        make(self.bytes()?).map_err(|error| self.corrupt(error))
    }
    pub(super) fn maybe_name<T>(
        &mut self,
        make: impl FnOnce(&'a str) -> Result<T, IdError>,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.maybe_bytes()? else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|error| self.corrupt(error))?;
        make(text).map(Some).map_err(|error| self.corrupt(error))
    }
    /// A name, as UTF-8 bytes.
    pub(super) fn name<T>(
        &mut self,
        make: impl FnOnce(&'a str) -> Result<T, IdError>,
    ) -> Result<T, StoreError> {
        self.maybe_name(make)?.ok_or_else(|| self.null())
    }
    /// A record's name.
    pub(super) fn key(&mut self) -> Result<Key, StoreError> {
        Ok(Key { kind: self.name(Kind::new)?, id: self.name(RecordId::new)? })
    }
}

/// A cell as one key: lengths, so that no two cells share one.
pub(super) fn cell_key(cell: &Cell) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in [cell.domain.as_str(), cell.kind.as_str()] {
        // Names are at most 64 bytes.
        bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(name.as_bytes());
    }
    match &cell.facet {
        None => bytes.push(0),
        Some(facet) => {
            bytes.push(1);
            bytes.extend_from_slice(facet.as_str().as_bytes());
        }
    }
    bytes
}

/// The cell of a key; `None` when it is not one.
pub(super) fn cell_of(bytes: &[u8]) -> Option<Cell> {
    fn name(bytes: &[u8]) -> Option<(&str, &[u8])> {
        let (length, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        Some((std::str::from_utf8(name).ok()?, rest))
    }
    let (domain, rest) = name(bytes)?;
    let (kind, rest) = name(rest)?;
    let facet = match rest.split_first()? {
        (0, []) => None,
        (1, facet) => Some(Facet::new(std::str::from_utf8(facet).ok()?).ok()?),
        _ => return None,
    };
    Some(Cell { domain: Domain::new(domain).ok()?, kind: Kind::new(kind).ok()?, facet })
}

/// Conflicts open on a record, as stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OpenList {
    #[prost(message, repeated, tag = "1")]
    pub(super) open: Vec<OpenEntry>,
}

/// One of them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OpenEntry {
    #[prost(string, tag = "1")]
    pub(super) path: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
}

/// Which counters which commits answered, as stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AnsweredList {
    #[prost(message, repeated, tag = "1")]
    pub(super) ranges: Vec<AnsweredEntry>,
}

/// One of them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AnsweredEntry {
    #[prost(uint64, tag = "1")]
    pub(super) first_n: u64,
    #[prost(uint64, tag = "2")]
    pub(super) last_n: u64,
    #[prost(uint64, tag = "3")]
    pub(super) commit: u64,
}

/// Of a mutation on the wire what may have a record's body.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Holder {
    #[prost(message, optional, tag = "5")]
    pub(super) put: Option<Held>,
}

/// The body of a put.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Held {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) body: Vec<u8>,
}

/// Of a record on the wire its name.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Named {
    #[prost(message, optional, tag = "1")]
    pub(super) key: Option<proto::v1::Key>,
}

/// Of a record on the wire its body.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Body {
    #[prost(bytes = "vec", optional, tag = "11")]
    pub(super) body: Option<Vec<u8>>,
}

/// A commit's outcomes, as stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutcomeList {
    #[prost(message, repeated, tag = "1")]
    pub(super) outcomes: Vec<proto::v1::DotOutcome>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_key_gives_its_cell_back_and_nothing_else_does() {
        for facet in [None, Some(Facet::new("\u{0}é").unwrap())] {
            let cell = Cell { domain: Domain::new("a").unwrap(), kind: Kind::new("b é").unwrap(), facet };
            let key = cell_key(&cell);
            assert_eq!(cell_of(&key), Some(cell));
            assert!((0..key.len() - 3).all(|length| cell_of(&key[..length]).is_none()));
        }
        assert_eq!(cell_of(&[1, b'a', 1, b'b', 2]), None);
    }

    #[test]
    fn numbers_past_the_column_are_its_end() {
        assert_eq!(clamped(u64::MAX), i64::MAX);
        assert_eq!(clamped(7), 7);
    }
}
