//! What one commit writes, also where an engine has written it down before its turn.

use std::any::Any;
use std::fmt;

use semantics::commit::Head;
use semantics::ids::{CommitNumber, Digest, Revision, TenantId};

use super::{CellRow, CommitRow, LogRow, Pointer, WriterRow};

/// What one commit writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The head's commit number before.
    pub expected: CommitNumber,
    /// The head's chain before.
    pub expected_chain: Digest,
    /// The head after.
    pub head: Head,
    /// The commit.
    pub commit: CommitRow,
    /// Its rows, in revision order.
    pub rows: Vec<LogRow>,
    /// Pointers to insert or replace.
    pub pointers: Vec<Pointer>,
    /// Writers to insert or replace.
    pub writers: Vec<WriterRow>,
    /// Cell hashes to insert or replace.
    pub cells: Vec<CellRow>,
    /// Revisions that pruning must leave, or may take again.
    pub holds: Vec<(Revision, bool)>,
}

/// Whether an append happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It did, durably.
    Yes,
    /// The head was not where expected; nothing was written.
    HeadMoved,
}

/// What an engine makes of an append before its turn has come; by default nothing.
#[derive(Default)]
pub struct Prepared(Option<Written>);

/// The chain names the append and all before it.
struct Written {
    tenant: TenantId,
    chain: Digest,
    form: Box<dyn Any + Send>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.0.as_ref().map(|written| written.chain);
        f.debug_tuple("Prepared").field(&chain).finish()
    }
}

impl Prepared {
    /// An append in an engine's form.
    pub(super) fn of(tenant: &TenantId, append: &Append, form: impl Any + Send) -> Self {
        let (tenant, chain) = (tenant.clone(), append.commit.chain);
        Self(Some(Written { tenant, chain, form: Box::new(form) }))
    }

    /// The form, if it is this append's and of this engine.
    pub(super) fn take<T: Any>(self, tenant: &TenantId, append: &Append) -> Option<T> {
        let is_of = |written: &Written| written.tenant == *tenant && written.chain == append.commit.chain;
        let form = self.0.filter(is_of)?.form;
        form.downcast().ok().map(|form| *form)
    }
}
