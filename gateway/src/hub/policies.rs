//! Policies set for kinds at run time: control records beside the kinds' declarations.

use std::collections::{BTreeMap, BTreeSet};

use semantics::builtin;
use semantics::canonical::parse_object;
use semantics::conflict::Conflict;
use semantics::envelope::{KEY_ID_CLEAR, Record};
use semantics::ids::{Kind, NodeId, RecordId, Revision, TenantId};
use semantics::kind::{self, Declaration, Policy, PolicySet};
use semantics::reason::Reason;
use serde_json::{Map, Value};
use tracing::warn;

use super::Hub;
use super::control::{LOOKS_MAX, has_changed, key_of};
use super::error::HubError;
use super::heavy;
use super::known::control_body;
use super::plan::policy_of_newer;
use super::query::{LIST_BYTES_MAX, LIST_ROWS_MAX};
use super::work::NoneOpened;
use crate::store::{Current, LogQuery, PointerQuery, Wanted};

/// Most open conflicts of a kind that a new declaration is tried on.
const OPEN_LOOKED_AT_MAX: usize = 10_000;
/// Most conflicts, settled ones too, that are looked through for open ones.
pub const CONFLICTS_READ_MAX: usize = 250_000;
/// Most pages of what was written meanwhile that are looked through.
const CAUGHT_UP_PAGES_MAX: usize = 256;

/// What applies to a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindPolicy {
    /// The kind, as it is declared.
    pub declaration: Declaration,
    /// What was set instead of the declared policy.
    pub set: Option<Policy>,
    /// The revision from which on it applies; [`Revision::ZERO`] for a built-in kind as it comes.
    pub version: Revision,
}

impl KindPolicy {
    /// The policy that applies.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.set.unwrap_or(self.declaration.policy)
    }
}

impl Hub {
    /// The policy that applies to a kind.
    ///
    /// # Errors
    /// NOT_FOUND for a kind that is neither built in nor declared; PROTOCOL_VERSION where what was set is of a newer
    /// gateway and not read here; store errors.
    pub async fn policy(&self, tenant: &TenantId, kind: &Kind) -> Result<KindPolicy, HubError> {
        let (stands, set) = self.stands(tenant, kind).await?;
        match set {
            Some(set) if control_body::<PolicySet>(Some(&set)).is_none() => {
                warn!(%tenant, %kind, "the policy set for it is not read here: nothing is decided by another");
                Err(policy_of_newer(kind).into())
            }
            Some(_) | None => Ok(stands),
        }
    }

    /// As [`Hub::policy`], for a list: with the name, as it stands there, of what a newer gateway has set and this one
    /// does not read.
    ///
    /// # Errors
    /// NOT_FOUND; store errors.
    pub async fn policy_told(
        &self,
        tenant: &TenantId,
        kind: &Kind,
    ) -> Result<(KindPolicy, Option<String>), HubError> {
        let (stands, set) = self.stands(tenant, kind).await?;
        let unread = set.filter(|set| control_body::<PolicySet>(Some(set)).is_none());
        let body = unread.map(|set| control_body::<Map<String, Value>>(Some(&set)).unwrap_or_default());
        let name = body.map(|body| body.get("policy").and_then(Value::as_str).unwrap_or("?").to_owned());
        Ok((stands, name))
    }

    /// What applies to a kind, and the record of what was set, at one moment.
    async fn stands(
        &self,
        tenant: &TenantId,
        kind: &Kind,
    ) -> Result<(KindPolicy, Option<Current>), HubError> {
        let keys = [key_of(kind::KIND, kind.as_str())?, key_of(kind::POLICY, kind.as_str())?];
        let wanted = Wanted { keys: keys.clone().into(), ..Wanted::default() };
        let mut found = self.store().load(tenant, &wanted).await?.current;
        let [declared, set] = keys.map(|key| found.remove(&key).filter(|current| !current.pointer.deleted));
        let declaration: Option<Declaration> = control_body(declared.as_ref());
        let built_in = || builtin::builtin(kind).filter(|_| kind::is_pushable(kind)).cloned();
        let declaration = declaration
            .or_else(built_in)
            .ok_or_else(|| HubError::new(Reason::NotFound, format!("no kind {kind}")))?;
        let revisions = [&declared, &set].map(|found| found.as_ref().map(|found| found.pointer.revision));
        let stands = KindPolicy {
            declaration,
            set: control_body::<PolicySet>(set.as_ref()).and_then(|set| set.policy),
            version: revisions.into_iter().flatten().max().unwrap_or_default(),
        };
        Ok((stands, set))
    }

    /// Sets the policy of a kind from the revision on that it returns; `None`: what its declaration says. It is
    /// committed only where no conflict was opened meanwhile that forbids it. What a newer gateway has set, and this one
    /// does not read, may have had any paths.
    ///
    /// # Errors
    /// NOT_FOUND for a kind that is not declared; CONFLICTS_OPEN where conflicts of the kind are open whose paths mean
    /// something else under the new policy; TOO_LARGE past [`CONFLICTS_READ_MAX`]; OVERLOADED; STALE; store errors.
    pub async fn set_policy(
        &self,
        tenant: &TenantId,
        author: NodeId,
        kind: &Kind,
        policy: Option<Policy>,
    ) -> Result<Revision, HubError> {
        let key = key_of(kind::POLICY, kind.as_str())?;
        let mut looks = 1;
        loop {
            let (stands, set) = self.stands(tenant, kind).await?;
            let is_read = set.as_ref().is_none_or(|set| control_body::<PolicySet>(Some(set)).is_some());
            if is_read && policy == stands.set {
                return Ok(stands.version);
            }
            let next = policy.unwrap_or(stands.declaration.policy);
            let only_if = if is_read && next.keeps_paths_of(stands.policy()) {
                None
            } else {
                Some(self.check_none_open(tenant, kind).await?)
            };
            // Never deleted: the revision of a rule says which one it is.
            match self.put_over(tenant, author, (&key, set), &PolicySet { policy }, only_if).await {
                Err(error) if has_changed(&error) && looks < LOOKS_MAX => looks += 1,
                done => return done,
            }
        }
    }

    async fn check_none_open(&self, tenant: &TenantId, kind: &Kind) -> Result<NoneOpened, HubError> {
        let looked = self.open_conflicts(tenant, kind).await?;
        match looked.open.keys().next() {
            None => Ok(looked.up_to(kind)),
            Some(id) => Err(open(id, kind, PATH_CHANGES)),
        }
    }

    /// Refuses a declaration that open conflicts of its kind could not be resolved under: their paths would mean
    /// something else, or a side that may be chosen would not fit the schema. Gives what must hold when it is committed.
    pub(super) async fn check_conflicts_under(
        &self,
        tenant: &TenantId,
        declaration: &Declaration,
    ) -> Result<Option<NoneOpened>, HubError> {
        let kind = &declaration.name;
        let before = match self.policy(tenant, kind).await {
            Ok(before) if before.declaration == *declaration => return Ok(None),
            Ok(before) => before,
            Err(error) if error.refusal.reason == Reason::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let next = before.set.unwrap_or(declaration.policy);
        if !next.keeps_paths_of(before.policy()) {
            return self.check_none_open(tenant, kind).await.map(Some);
        }
        if (&before.declaration.schema, &before.declaration.id_of)
            == (&declaration.schema, &declaration.id_of)
        {
            return Ok(None);
        }
        let schema = heavy::compile(declaration)?;
        let looked = self.open_conflicts(tenant, kind).await?;
        for (id, conflict) in &looked.open {
            let rows = self.store().rows(tenant, &conflict.named()).await?;
            let bodies = rows.iter().filter(|row| row.record.key_id == KEY_ID_CLEAR);
            for body in bodies.filter_map(|row| row.record.body()) {
                let body = parse_object(body)?;
                let is_named = declaration.check_id(&conflict.subject.id, &body);
                if let Err(refusal) = is_named.and_then(|()| schema.check_object(body).map(drop)) {
                    return Err(open(id, kind, &format!("a side would not fit: {}", refusal.detail)));
                }
            }
        }
        Ok(Some(looked.up_to(kind)))
    }

    /// The open conflicts of a kind, and up to which revision that is so: pages of all conflicts, and then what was
    /// written while they were read.
    async fn open_conflicts(&self, tenant: &TenantId, kind: &Kind) -> Result<Looked, HubError> {
        let since = self.store().head(tenant).await?.revision;
        let mut looked = Looked { at: since, open: BTreeMap::new() };
        let conflicts = Kind::new(kind::CONFLICT).ok();
        let mut query = PointerQuery { kind: conflicts, rows_max: LIST_ROWS_MAX, ..PointerQuery::default() };
        let mut read = 0_usize;
        loop {
            let page = self.records(tenant, query.clone()).await?;
            page.rows.iter().try_for_each(|row| looked.see(&row.record, kind))?;
            read = read.saturating_add(page.rows.len());
            query.after = page.rows.last().map(|row| row.pointer.key.clone());
            if page.is_last || query.after.is_none() {
                break;
            }
            if read >= CONFLICTS_READ_MAX {
                let detail =
                    format!("there were more conflicts than are looked through: {CONFLICTS_READ_MAX}");
                return Err(HubError::new(Reason::TooLarge, detail));
            }
        }
        for _ in 0..CAUGHT_UP_PAGES_MAX {
            let query = LogQuery {
                after: looked.at,
                rows_max: LIST_ROWS_MAX,
                bytes_max: LIST_BYTES_MAX,
                keys: BTreeSet::new(),
                with_cells: false,
            };
            let page = self.store().log_page(tenant, &query).await?;
            page.entries.iter().try_for_each(|entry| looked.see(&entry.row.record, kind))?;
            if page.reaches_head {
                looked.at = page.head.revision;
                return Ok(looked);
            }
            looked.at = page.entries.last().map_or(looked.at, |entry| entry.row.revision);
        }
        Err(HubError::transient(Reason::Overloaded, "more is written than can be looked through", 1_000))
    }
}

/// The open conflicts of a kind at a revision.
#[derive(Debug)]
struct Looked {
    at: Revision,
    open: BTreeMap<RecordId, Conflict>,
}

impl Looked {
    fn up_to(&self, kind: &Kind) -> NoneOpened {
        NoneOpened { kind: kind.clone(), since: self.at }
    }

    /// Takes in a state of a record. One whose conflict does not read may be of the kind, and open.
    fn see(&mut self, record: &Record, kind: &Kind) -> Result<(), HubError> {
        let id = &record.key.id;
        if record.key.kind.as_str() != kind::CONFLICT {
            return Ok(());
        }
        let conflict: Option<Conflict> = match record.body().map(serde_json::from_slice) {
            Some(Ok(conflict)) => Some(conflict),
            Some(Err(_)) => {
                let detail = format!("conflict {id} is of a newer version than this gateway");
                return Err(HubError::new(Reason::ProtocolVersion, detail));
            }
            None => None,
        };
        match conflict.filter(|conflict| conflict.open && conflict.subject.kind == *kind) {
            Some(conflict) => drop(self.open.insert(id.clone(), conflict)),
            None => drop(self.open.remove(id)),
        }
        if self.open.len() > OPEN_LOOKED_AT_MAX {
            return Err(open(id, kind, &format!("it is one of more than {OPEN_LOOKED_AT_MAX}")));
        }
        Ok(())
    }
}

const PATH_CHANGES: &str = "its path means something else under the policy to come";

fn open(id: &RecordId, kind: &Kind, why: &str) -> HubError {
    HubError::new(Reason::ConflictsOpen, format!("conflict {id} of {kind} is open: {why}"))
}
