//! Rows of one table: all their values one after the other, and all the bytes of these in one buffer, so that a row costs
//! no allocation of its own.

use prost::Message;

use super::clamped;
use crate::store::table::Table;

/// Most bytes that rows are given room for before they are written: later ones as long as the first.
const RESERVED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Rows of one table.
#[derive(Debug)]
pub(in crate::store) struct Rows {
    /// Values of one row.
    width: usize,
    places: Vec<Place>,
    bytes: Vec<u8>,
}

/// A value, or where its bytes begin and end.
#[derive(Debug, Clone, Copy)]
enum Place {
    Int(Option<i64>),
    Bytes(Option<(usize, usize)>),
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Stored<'a> {
    /// An integer, or null.
    Int(Option<i64>),
    /// Bytes, or null.
    Bytes(Option<&'a [u8]>),
}

impl Rows {
    /// One row for each item, which `write` fills from left to right.
    pub(in crate::store) fn of<T>(
        table: &Table,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) -> Self {
        let mut items = items.into_iter();
        let (width, count) = (table.columns.len(), items.size_hint().0);
        let mut rows = Self { width, places: Vec::with_capacity(width * count), bytes: Vec::new() };
        if let Some(first) = items.next() {
            write(&mut rows, first);
            rows.bytes.reserve(rows.bytes.len().saturating_mul(count).min(RESERVED_BYTES_MAX));
        }
        items.for_each(|item| write(&mut rows, item));
        rows
    }

    /// How many there are.
    pub(in crate::store) fn len(&self) -> usize {
        self.places.len() / self.width.max(1)
    }

    /// Row after row, each from left to right.
    pub(in crate::store) fn values(&self) -> impl ExactSizeIterator<Item = Stored<'_>> {
        self.places.iter().map(|place| self.at(*place))
    }

    /// One column of all rows.
    pub(in crate::store) fn column(&self, at: usize) -> impl Iterator<Item = Stored<'_>> {
        self.places.iter().skip(at).step_by(self.width.max(1)).map(|place| self.at(*place))
    }

    fn at(&self, place: Place) -> Stored<'_> {
        match place {
            Place::Int(int) => Stored::Int(int),
            Place::Bytes(ends) => Stored::Bytes(ends.and_then(|(from, to)| self.bytes.get(from..to))),
        }
    }

    /// A number that a signed column holds; what is stored never comes near the bound.
    pub(super) fn number(&mut self, number: u64) {
        self.maybe_number(Some(number));
    }
    /// A number, or null.
    pub(super) fn maybe_number(&mut self, number: Option<u64>) {
        self.places.push(Place::Int(number.map(clamped)));
    }
    /// A flag.
    pub(super) fn flag(&mut self, flag: bool) {
        self.number(u64::from(flag));
    }
    /// Bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.put(|all| all.extend_from_slice(bytes));
    }
    /// A text's bytes.
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    /// A text's bytes, or null.
    pub(super) fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.places.push(Place::Bytes(None)),
        }
    }
    /// A message, as on the wire.
    pub(super) fn message(&mut self, message: &impl Message) {
        // Bytes always have room.
        self.put(|all| {
            let _ = message.encode(all);
        });
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len();
        write(&mut self.bytes);
        self.places.push(Place::Bytes(Some((from, self.bytes.len()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::table::PLAIN;

    #[test]
    fn rows_come_back_by_row_and_by_column() {
        let rows = Rows::of(&PLAIN, [(7, "a"), (u64::MAX, "")], |to, (number, text)| {
            to.number(number);
            to.text(text);
            to.optional(None);
            to.maybe_number(None);
        });
        let row = |int, bytes| {
            [Stored::Int(Some(int)), Stored::Bytes(Some(bytes)), Stored::Bytes(None), Stored::Int(None)]
        };
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.values().collect::<Vec<_>>(), [row(7, b"a".as_slice()), row(i64::MAX, b"")].concat());
        assert_eq!(
            rows.column(1).collect::<Vec<_>>(),
            [b"a".as_slice(), b""].map(|bytes| Stored::Bytes(Some(bytes)))
        );
    }
}
