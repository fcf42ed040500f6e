//! Appends that an engine has written down before their turn.

use std::any::Any;
use std::fmt;

use semantics::ids::{Digest, TenantId};

use super::Append;

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
