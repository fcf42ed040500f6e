//! The body that a mutation was made on, found in the log.
//!
//! The walk goes from the record's newest row back along `previous`. What it finds is a function of the log and its
//! horizon alone, however far pruning has come: a row is gone once the one that superseded it lies at or below the
//! horizon. A mutation made on its writer's own unconfirmed one was made on that one's body; any other on the row at
//! its base's revision, if that holds exactly the base's version (else the author had seen more than any row holds).

use crate::envelope::{Mutation, Op, Record};
use crate::ids::{Dot, Revision};

/// Most rows that the walk looks at; a base further back is as good as pruned.
pub const ANCESTOR_ROWS_MAX: usize = 32;

/// What the walk needs of a log row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The revision before it of the same record.
    pub previous: Revision,
    /// The mutation's dot, or the hub's own.
    pub dot: Dot,
    /// The mutation, where it was one.
    pub mutation: Option<&'a Mutation>,
    /// The record after it.
    pub record: &'a Record,
}

/// The ancestor's body; `None` where there is none any more. `row` gives a row by its revision, `None` for one that
/// is not stored; its error, a row not read yet, ends the walk.
///
/// # Errors
/// What `row` says.
pub fn ancestor<'a, E>(
    mutation: &Mutation,
    newest: Revision,
    horizon: Revision,
    mut row: impl FnMut(Revision) -> Result<Option<Row<'a>>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let base = &mutation.base;
    let mut at = newest;
    for _ in 0..ANCESTOR_ROWS_MAX {
        if at == Revision::ZERO || base.own.is_none() && at < base.revision {
            return Ok(None);
        }
        let Some(found) = row(at)? else { return Ok(None) };
        let body = match base.own {
            Some(own) if found.dot == own => Some(found.mutation.and_then(put_body)),
            None if at == base.revision => {
                let is_base = found.record.version == base.version;
                Some(found.record.body().filter(|_| is_base).map(<[u8]>::to_vec))
            }
            Some(_) | None => None,
        };
        if let Some(body) = body {
            return Ok(body);
        }
        // This row superseded the one before it.
        if at <= horizon {
            return Ok(None);
        }
        at = found.previous;
    }
    Ok(None)
}

fn put_body(mutation: &Mutation) -> Option<Vec<u8>> {
    match &mutation.op {
        Op::Put { body } => Some(body.to_vec()),
        Op::Patch { .. } | Op::Delete => None,
    }
}
