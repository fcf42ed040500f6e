//! The end of the log. Whatever superseded one of its rows is one of them, so their names alone tell what was superseded: to look
//! each record up costs the more the more records there are.

use std::collections::BTreeMap;

use semantics::commit::Head;
use semantics::envelope::Cell;
use semantics::ids::{Domain, Facet, Kind, Revision, TenantId};

use super::Connection;
use super::read::limit;
use crate::store::codec::read::LookedAt;
use crate::store::codec::{Columns, Cursor, Value};
use crate::store::{ShownRow, StoreError};

/// Most rows of an end: a page or two.
const ROWS_MAX: usize = 2_048;

const NAMES: &str = "select revision, kind, id, domain, facet from log \
     where tenant = $1 and revision > $2 order by revision limit $3";

/// Where the records are now whose rows were superseded within it; of rows that are each the latest, nothing.
#[derive(Debug, Default)]
pub(super) struct Tail(BTreeMap<Revision, (Revision, Cell)>);

impl Tail {
    /// Of the log from after a revision to the head that was read with it; none where that is long or mostly history, or where the horizon has
    /// passed the revision: below it a record may have been collected.
    pub(super) async fn read<C: Connection>(
        connection: &mut C,
        tenant: &TenantId,
        after: Revision,
        head: &Head,
    ) -> Result<Option<Self>, StoreError> {
        let rows = usize::try_from(head.revision.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        if rows > ROWS_MAX || after < head.horizon {
            return Ok(None);
        }
        if rows < 2 {
            return Ok(Some(Self::default()));
        }
        let bounds =
            vec![Value::text(tenant.as_str()), Value::number(after.0), Value::Int(Some(limit(rows)))];
        let rows = connection.fetch(NAMES, bounds).await?;
        let (mut latest, mut superseded) = (BTreeMap::new(), BTreeMap::new());
        for row in rows.iter().rev() {
            let mut at = Cursor::new(row, "log");
            let (revision, key) = (Revision(at.number()?), (at.bytes()?, at.bytes()?));
            if let Some(last) = latest.get(&key) {
                superseded.insert(revision, place(*last)?);
            } else {
                latest.insert(key, row);
            }
        }
        // Where most were superseded their contents would be read for nobody.
        Ok((2 * superseded.len() <= rows.len()).then_some(Self(superseded)))
    }

    /// A row that nothing in the end superseded is shown.
    pub(super) fn look<R>(&self, row: &mut LookedAt<'_, R>) {
        row.is_shown |= !self.0.contains_key(&row.revision);
    }

    /// Says where a row's record is now.
    pub(super) fn set_now(&self, row: &mut ShownRow) {
        let now = self.0.get(&row.revision).cloned();
        row.now = now.or_else(|| Some((row.revision, row.cell.clone())));
    }
}

/// The revision and the cell of a row of names.
fn place<R: Columns>(row: &R) -> Result<(Revision, Cell), StoreError> {
    let mut at = Cursor::new(row, "log");
    let (revision, kind) = (Revision(at.number()?), at.name(Kind::new)?);
    at.skip(1);
    let (domain, facet) = (at.name(Domain::new)?, at.maybe_name(Facet::new)?);
    Ok((revision, Cell { domain, kind, facet }))
}
