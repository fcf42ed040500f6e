//! Many rows in one statement. A call over the driver's thread costs more than a row, so rows travel in pieces;
//! pieces come in few sizes, so that each statement is prepared once.

use std::fmt::Write as _;

/// Rows in one statement, largest first, so that any number goes in few. The widest row has eleven values, and SQLite
/// binds at most 32 766.
const SIZES: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Cuts rows into pieces of these sizes.
pub(super) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at_checked(size)?;
        rows = rest;
        Some(piece)
    })
}

/// `?, ?, ?`
pub(super) fn marks(count: usize) -> String {
    let mut text = "?, ".repeat(count);
    text.truncate(text.len().saturating_sub(2));
    text
}

/// `(?, ?), (?, ?)`
pub(super) fn row_marks(rows: usize, columns: usize) -> String {
    let row = marks(columns);
    let mut text = String::with_capacity(rows * (row.len() + 4));
    for index in 0..rows {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}({row})");
    }
    text
}
