//! What a reader is sent for a row of the log.

use crate::envelope::Cell;
use crate::fault::Fault;
use crate::ids::Revision;
use crate::view::View;

/// A row, as far as delivery goes.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its revision.
    pub revision: Revision,
    /// The cell the record lies in from this row on.
    pub cell: &'a Cell,
    /// The cell it left with this row, and since when it had lain there.
    pub departed: Option<(&'a Cell, Revision)>,
    /// Where the record is at the moment of reading: its latest revision and cell; `None` = collected.
    pub now: Option<(Revision, &'a Cell)>,
}

/// A reader.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The view in force.
    pub view: &'a View,
    /// The view its last cut was made under.
    pub before: &'a View,
    /// It may hold anything that these views showed up to this revision.
    pub seen_to: Revision,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The record as this row left it.
    Change,
    /// That the record is gone from the reader's cells.
    Departure,
    /// Nothing: that there was something is not revealed.
    Silence,
}

/// Decides. A row is sent if it is its record's latest and lies in the view. A departure is sent only to a reader
/// that may hold the record from its old cell and does not see it where it is now.
#[must_use]
pub fn delivery(row: Row<'_>, reader: Reader<'_>) -> Delivery {
    let is_latest = row.now.is_some_and(|(revision, _)| revision == row.revision);
    if is_latest && reader.view.contains(row.cell) {
        return Delivery::Change;
    }
    let Some((old, since)) = row.departed else { return Delivery::Silence };
    let saw = reader.view.contains(old) || reader.before.contains(old) || Fault::DepartureToAll.is_planted();
    let sees = row.now.is_some_and(|(_, cell)| reader.view.contains(cell));
    if saw && since <= reader.seen_to && !sees { Delivery::Departure } else { Delivery::Silence }
}
