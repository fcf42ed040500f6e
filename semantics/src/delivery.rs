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
    /// The last revision of the page that it comes in.
    pub page_end: Revision,
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
/// that may hold the record from its old cell and is not shown by this page where it is now: what a later page would
/// show may be superseded before that page is read (`who_is_shown_it_again_later_is_told_that_it_left`).
#[must_use]
pub fn delivery(row: Row<'_>, reader: Reader<'_>) -> Delivery {
    let is_latest = row.now.is_some_and(|(revision, _)| revision == row.revision);
    if is_latest && reader.view.contains(row.cell) {
        return Delivery::Change;
    }
    let Some((old, since)) = row.departed else { return Delivery::Silence };
    let saw = reader.view.contains(old) || reader.before.contains(old) || Fault::DepartureToAll.is_planted();
    let sees = row.now.is_some_and(|(at, cell)| at <= row.page_end && reader.view.contains(cell));
    if saw && since <= reader.seen_to && !sees { Delivery::Departure } else { Delivery::Silence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Domain, Kind};
    use crate::view::Selector;

    fn cell(domain: &str) -> Cell {
        let (domain, kind) = (Domain::new(domain.to_owned()).unwrap(), Kind::new("note".to_owned()).unwrap());
        Cell { domain, kind, facet: None }
    }

    #[test]
    fn who_is_shown_it_again_later_is_told_that_it_left() {
        let (here, there) = (cell("here"), cell("there"));
        let selector = Selector { domain: here.domain.clone(), kind: None, facet: None };
        let view = View { cells: [selector].into() };
        let reader = Reader { view: &view, before: &view, seen_to: Revision(5) };
        let told = |page_end| {
            let departed = Some((&here, Revision(5)));
            let now = Some((Revision(8), &here));
            let row =
                Row { revision: Revision(6), cell: &there, departed, now, page_end: Revision(page_end) };
            delivery(row, reader)
        };
        assert_eq!(told(7), Delivery::Departure);
        assert_eq!(told(8), Delivery::Silence);
    }
}
