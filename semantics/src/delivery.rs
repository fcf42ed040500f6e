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
    /// The revision of the view in force.
    pub view_revision: Revision,
    /// The views before that, as far as they were in force at the floor or since: each from its revision on.
    pub former: &'a [(Revision, View)],
    /// Everything that it holds and was sent stood in the log as it was at this revision, or later.
    pub floor: Revision,
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
/// show may be superseded before that page is read (`who_is_shown_it_again_later_is_told_that_it_left`). What left
/// before the reader's first state, or before the view that would have shown it, that reader never held
/// (`who_came_after_it_had_left_is_told_nothing`).
#[must_use]
pub fn delivery(row: Row<'_>, reader: Reader<'_>) -> Delivery {
    let is_latest = row.now.is_some_and(|(revision, _)| revision == row.revision);
    if is_latest && reader.view.contains(row.cell) {
        return Delivery::Change;
    }
    let Some((old, since)) = row.departed else { return Delivery::Silence };
    let sees = row.now.is_some_and(|(at, cell)| at <= row.page_end && reader.view.contains(cell));
    let saw = reader.saw(old, since, row.revision) || Fault::DepartureToAll.is_planted();
    if saw && since <= reader.seen_to && !sees { Delivery::Departure } else { Delivery::Silence }
}

impl Reader<'_> {
    /// Whether it may have been shown what lay in a cell from one revision until another: a view in force showed it
    /// then, and not only before the floor.
    fn saw(&self, cell: &Cell, since: Revision, until: Revision) -> bool {
        let ends = self.former.iter().skip(1).map(|(from, _)| *from).chain([self.view_revision]);
        let former = self.former.iter().zip(ends).map(|((from, view), end)| (*from, end, view));
        let mut views = former.chain([(self.view_revision, Revision(u64::MAX), self.view)]);
        if Fault::DepartureBeforeReader.is_planted() {
            return views.any(|(.., view)| view.contains(cell));
        }
        until > self.floor
            && views.any(|(from, end, view)| from < until && since < end && view.contains(cell))
    }
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

    fn reader<'a>(view: &'a View, former: &'a [(Revision, View)], floor: u64) -> Reader<'a> {
        let (view_revision, seen_to) = (Revision(if former.is_empty() { 1 } else { 4 }), Revision(5));
        Reader { view, view_revision, former, floor: Revision(floor), seen_to }
    }

    #[test]
    fn who_came_after_it_had_left_is_told_nothing() {
        let (here, there) = (cell("here"), cell("there"));
        let selector = Selector { domain: here.domain.clone(), kind: None, facet: None };
        let view = View { cells: [selector].into() };
        let (none, same) = ([(Revision(1), View::default())], [(Revision(1), view.clone())]);
        let left = |since, revision, reader| {
            let (departed, now) = (Some((&here, Revision(since))), Some((Revision(revision), &there)));
            let page_end = Revision(9);
            delivery(Row { revision: Revision(revision), cell: &there, departed, now, page_end }, reader)
        };
        assert_eq!(left(2, 6, reader(&view, &[], 5)), Delivery::Departure);
        assert_eq!(left(2, 6, reader(&view, &[], 6)), Delivery::Silence, "it was read after that");
        assert_eq!(left(2, 4, reader(&view, &none, 1)), Delivery::Silence, "the view is younger");
        assert_eq!(left(2, 4, reader(&view, &same, 1)), Delivery::Departure, "the one before showed it too");
        assert_eq!(left(2, 6, reader(&view, &none, 1)), Delivery::Departure);
        let narrow = View::default();
        assert_eq!(
            left(2, 6, reader(&narrow, &same, 1)),
            Delivery::Departure,
            "it was there before the view shrank"
        );
        assert_eq!(left(4, 6, reader(&narrow, &same, 1)), Delivery::Silence, "it came after that");
    }

    #[test]
    fn who_is_shown_it_again_later_is_told_that_it_left() {
        let (here, there) = (cell("here"), cell("there"));
        let selector = Selector { domain: here.domain.clone(), kind: None, facet: None };
        let view = View { cells: [selector].into() };
        let reader = reader(&view, &[], 0);
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
