//! Opening and closing the epochs of nodes, and what their replicas have of the outcomes.

use semantics::ids::{Digest, Writer};

use super::Draft;
use crate::store::WriterRow;

const fn fresh(writer: Writer) -> WriterRow {
    let last_digest = Digest([0; 32]);
    WriterRow { writer, last_n: 0, last_digest, confirmed_n: 0, answered: Vec::new(), closed: false }
}

impl Draft<'_> {
    /// Whether it is open, and nobody has used it.
    pub(super) fn open_epoch(&mut self, writer: Writer) -> bool {
        let opened = fresh(writer);
        match self.writer(&writer) {
            Some(row) => *row == opened,
            None => {
                self.writers.insert(writer, opened);
                true
            }
        }
    }

    /// Whether it is open, and has consumed this much. The outcomes may have gone while it was closed: they are with
    /// the replica, and a repeat is told so.
    pub(super) fn reopen_epoch(&mut self, writer: Writer, last_n: u64) -> bool {
        let Some(row) = self.writer(&writer).filter(|row| row.last_n == last_n) else { return false };
        if row.closed {
            let open = WriterRow { closed: false, confirmed_n: last_n, answered: Vec::new(), ..row.clone() };
            self.writers.insert(writer, open);
        }
        true
    }

    /// One that this log never had is closed as well: it is never given to anybody.
    pub(super) fn close_epochs(&mut self, writers: &[Writer]) -> bool {
        for writer in writers {
            let row = self.writer(writer).cloned().unwrap_or_else(|| fresh(*writer));
            if !row.closed {
                self.writers.insert(*writer, WriterRow { closed: true, answered: Vec::new(), ..row });
            }
        }
        true
    }

    pub(super) fn confirm(&mut self, confirmed: &[(Writer, u64)]) -> bool {
        for (writer, n) in confirmed {
            let Some(row) = self.writer(writer).filter(|row| !row.closed) else { continue };
            let mut row = row.clone();
            row.confirmed_n = row.confirmed_n.max((*n).min(row.last_n));
            let confirmed_n = row.confirmed_n;
            row.answered.retain(|range| range.last_n > confirmed_n);
            self.writers.insert(*writer, row);
        }
        true
    }
}
