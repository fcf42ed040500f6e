//! Operators: control records of the tenant `hub`, so that the log says who made, rotated or revoked one. A record
//! holds the hash of the credential, never the credential. What an operator did stands under its name, so a name is given
//! once: that of a revoked operator whose record made room for another is remembered in its tenant.

use semantics::ids::{Key, NodeId, Revision, TenantId};
use semantics::kind;
use semantics::reason::Reason;
use semantics::role::Role;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{HUB_TENANT, hub_tenant, secret};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::known::{control_body, control_key};
use crate::store::{PointerQuery, Space, Store, Wanted};

/// Most operators of one tenant, or of the whole hub, revoked ones included; past it a revoked one makes room.
pub const OPERATORS_OF_TENANT_MAX: usize = 100;
/// Most operators of all tenants.
pub const OPERATORS_MAX: usize = 10_000;
/// Most names of one tenant's operators whose records are gone; past it none makes room any more.
pub const OPERATOR_NAMES_MAX: usize = 10_000;
/// Before the name, in the name of the mark that it was an operator's.
const NAME_MARK: &str = "operator/";
/// Operators read at once.
const PAGE_ROWS: usize = 1_000;
/// Longest life of a credential, seconds.
pub const OPERATOR_TTL_S_MAX: u64 = 400 * 24 * 3_600;
/// Life of a credential when none is named, seconds.
pub const OPERATOR_TTL_S_DEFAULT: u64 = 90 * 24 * 3_600;
/// Longest time for which the credential before a rotation stays valid, seconds.
pub const GRACE_S_MAX: u64 = 24 * 3_600;
/// Longest name of an operator, characters.
pub const OPERATOR_NAME_CHARS_MAX: usize = 64;
/// Bodies of operators read at once, bytes.
const PAGE_BYTES: usize = 1024 * 1024;
/// Name of the operator that is made with the hub.
pub const FIRST: &str = "first";

/// An operator that has shown its credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Its tenant; the tenant `hub` = the whole hub.
    pub tenant: TenantId,
    /// Its name in that tenant.
    pub name: String,
    /// What it may do there.
    pub role: Role,
}

impl Operator {
    /// Whether its role holds in the whole hub.
    #[must_use]
    pub fn is_of_hub(&self) -> bool {
        self.tenant.as_str() == HUB_TENANT
    }

    /// Whether its role holds in the tenant of this name. Says nothing of whether there is one.
    #[must_use]
    pub fn reaches(&self, tenant: &str) -> bool {
        self.is_of_hub() || self.tenant.as_str() == tenant
    }

    /// How the log names it as the author of what it changes.
    #[must_use]
    pub fn author(&self) -> NodeId {
        author_of(&self.tenant, &self.name)
    }
}

/// The first 16 bytes of SHA-256 over "hubward operator", the tenant and the name, each ended by a zero byte.
#[must_use]
pub fn author_of(tenant: &TenantId, name: &str) -> NodeId {
    let text = format!("hubward operator\0{tenant}\0{name}\0");
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    NodeId(id)
}

/// A credential's hash, and until when it is good, milliseconds since 1970-01-01 UTC; `None` = for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// SHA-256 of the secret, hexadecimal.
    pub hash: String,
    /// Until when.
    pub until_ms: Option<u64>,
}

impl Credential {
    fn is_good(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }
}

/// The body of an operator's control record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorBody {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its credential; none once it is revoked.
    pub credential: Option<Credential>,
    /// The credential before the last rotation, while that is still good.
    pub before: Option<Credential>,
}

impl OperatorBody {
    /// The operator, if this is the hash of a credential that is good now.
    pub(super) fn shown(&self, hash: &[u8; 32], now_ms: u64) -> Option<Operator> {
        let shown = hex::encode(hash);
        self.held(now_ms, |held| secret::same(held.hash.as_bytes(), shown.as_bytes()))
            .map(|(operator, _)| operator)
    }

    /// The operator, if it holds such a credential that is good now, and that credential.
    pub(super) fn held(
        &self,
        now_ms: u64,
        is_it: impl Fn(&Credential) -> bool,
    ) -> Option<(Operator, &Credential)> {
        let good = [&self.credential, &self.before].into_iter().flatten();
        let held = good.filter(|held| held.is_good(now_ms)).find(|held| is_it(held))?;
        Some((Operator { tenant: self.tenant.clone(), name: self.name.clone(), role: self.role }, held))
    }

    /// `active`, `expired` or `revoked`.
    #[must_use]
    pub fn status(&self, now_ms: u64) -> &'static str {
        match &self.credential {
            None => "revoked",
            Some(held) if held.is_good(now_ms) => "active",
            Some(_) => "expired",
        }
    }

    fn is_admin_of_hub(&self, now_ms: u64) -> bool {
        self.tenant.as_str() == HUB_TENANT && self.role == Role::Admin && self.status(now_ms) == "active"
    }
}

/// Every operator.
pub(super) async fn all(store: &dyn Store) -> Result<Vec<OperatorBody>, HubError> {
    let internal = |_| HubError::internal("a control kind is no name");
    let kind = semantics::ids::Kind::new(kind::OPERATOR).map_err(internal)?;
    let mut query =
        PointerQuery { kind: Some(kind), rows_max: PAGE_ROWS, bytes_max: PAGE_BYTES, ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = store.pointer_page(&hub_tenant()?, &query).await?;
        found.extend(
            page.rows.iter().filter(|row| !row.pointer.deleted).filter_map(|row| control_body(Some(row))),
        );
        query.after = page.rows.last().map(|row| row.pointer.key.clone());
        if page.is_last || found.len() > OPERATORS_MAX || query.after.is_none() {
            return Ok(found);
        }
    }
}

/// Makes an operator whose credential has this hash.
pub(super) async fn create(
    hub: &Hub,
    author: NodeId,
    new: &Operator,
    hash: &[u8; 32],
    until_ms: Option<u64>,
) -> Result<(), HubError> {
    if !new.role.is_for_operators() {
        return Err(malformed("role: nodes alone have it, by joining"));
    }
    check_name(&new.name)?;
    // A tenant that is not there is said so, to those who may speak of it.
    hub.store().head(&new.tenant).await?;
    let mut known = all(hub.store()).await?;
    if known.len() >= OPERATORS_MAX {
        return Err(HubError::new(Reason::TooLarge, format!("a hub has at most {OPERATORS_MAX} operators")));
    }
    known.retain(|operator| operator.tenant == new.tenant);
    if known.iter().any(|operator| operator.name == new.name) || was_one(hub, new).await? {
        let detail = format!(
            "{} of {} is or was an operator, and the logs name it so: choose another name",
            new.name, new.tenant
        );
        return Err(HubError::new(Reason::AlreadyExists, detail));
    }
    if known.len() >= OPERATORS_OF_TENANT_MAX {
        make_room(hub, author, &known).await?;
    }
    let credential = Some(Credential { hash: hex::encode(hash), until_ms });
    let Operator { tenant, name, role } = new.clone();
    write(hub, author, &OperatorBody { tenant, name, role, credential, before: None }, Revision::ZERO)
        .await?;
    Ok(())
}

/// The mark that a name was an operator's.
fn name_mark(name: &str) -> Vec<u8> {
    format!("{NAME_MARK}{name}").into_bytes()
}

/// Whether the name is that of an operator whose record is gone, or of one that made room before names were remembered
/// and whose tombstone still stands.
async fn was_one(hub: &Hub, new: &Operator) -> Result<bool, HubError> {
    let key = key(&new.tenant, &new.name)?;
    let wanted = Wanted { keys: [key].into(), ..Wanted::default() };
    if !hub.store().load(&hub_tenant()?, &wanted).await?.current.is_empty() {
        return Ok(true);
    }
    Ok(hub.store().plain_get(&new.tenant, Space::Mark, &name_mark(&new.name)).await?.is_some())
}

/// Remembers a name for good.
async fn remember(store: &dyn Store, tenant: &TenantId, name: &str) -> Result<(), HubError> {
    let (mut after, mut count) = (NAME_MARK.as_bytes().to_vec(), 0);
    loop {
        let page = store.plain_page(tenant, Space::Mark, Some(&after), PAGE_ROWS).await?;
        let names = page.iter().take_while(|row| row.key.starts_with(NAME_MARK.as_bytes())).count();
        count += names;
        match page.last() {
            Some(last) if names == PAGE_ROWS => after.clone_from(&last.key),
            Some(_) | None => break,
        }
    }
    if count >= OPERATOR_NAMES_MAX {
        let detail = format!(
            "this tenant had {OPERATOR_NAMES_MAX} operators that were revoked, and no more names are remembered: \
             rotate one that is there, or give services access tokens"
        );
        return Err(HubError::new(Reason::TooLarge, detail));
    }
    // False = another call remembers it.
    store.plain_put(tenant, Space::Mark, &name_mark(name), &[1], 0).await?;
    Ok(())
}

/// Takes a revoked operator out of the list; the log keeps what it was, and its name is not given again.
async fn make_room(hub: &Hub, author: NodeId, known: &[OperatorBody]) -> Result<(), HubError> {
    let Some(revoked) = known.iter().find(|operator| operator.credential.is_none()) else {
        let detail = format!("a tenant has at most {OPERATORS_OF_TENANT_MAX} operators: revoke one first");
        return Err(HubError::new(Reason::TooLarge, detail));
    };
    let (_, at) = find(hub, &revoked.tenant, &revoked.name).await?;
    remember(hub.store(), &revoked.tenant, &revoked.name).await?;
    hub.set_control(&hub_tenant()?, author, key(&revoked.tenant, &revoked.name)?, None, at).await?;
    Ok(())
}

/// Whether somebody can do everything in the whole hub.
pub(super) async fn has_admin(hub: &Hub) -> Result<bool, HubError> {
    let now_ms = hub.clock().now_ms();
    Ok(all(hub.store()).await?.iter().any(|operator| operator.is_admin_of_hub(now_ms)))
}

/// Makes the first operator, or gives it this credential where it is there and no admin is left.
pub(super) async fn make_first(hub: &Hub, hash: &[u8; 32]) -> Result<(), HubError> {
    let tenant = hub_tenant()?;
    let at = match find(hub, &tenant, FIRST).await {
        Ok((_, at)) => at,
        Err(error) if error.reason() == Reason::NotFound => Revision::ZERO,
        Err(error) => return Err(error),
    };
    let credential = Some(Credential { hash: hex::encode(hash), until_ms: None });
    let first = OperatorBody { tenant, name: FIRST.to_owned(), role: Role::Admin, credential, before: None };
    write(hub, NodeId::HUB, &first, at).await?;
    Ok(())
}

/// Gives an operator a credential with this hash; the one before is good until `before_until_ms`.
pub(super) async fn rotate(
    hub: &Hub,
    author: NodeId,
    (tenant, name): (&TenantId, &str),
    next: Credential,
    before_until_ms: u64,
) -> Result<(), HubError> {
    let (mut body, at) = find(hub, tenant, name).await?;
    let Some(held) = body.credential.take() else {
        return Err(HubError::new(Reason::NotFound, format!("{name} of {tenant} was revoked")));
    };
    let until_ms = Some(held.until_ms.map_or(before_until_ms, |until| until.min(before_until_ms)));
    let is_kept = until_ms > Some(hub.clock().now_ms());
    body.before = is_kept.then_some(Credential { until_ms, ..held });
    body.credential = Some(next);
    write(hub, author, &body, at).await?;
    Ok(())
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// The revision of the operator's record.
    pub revision: Revision,
    /// Whether it was this one that ended the operator, who may have been revoked before.
    pub is_new: bool,
}

/// Ends an operator for good. A hub keeps one admin at least: two who revoke each other at once can still take both.
pub(super) async fn revoke(
    hub: &Hub,
    author: NodeId,
    tenant: &TenantId,
    name: &str,
) -> Result<Revoked, HubError> {
    let (body, at) = find(hub, tenant, name).await?;
    let now_ms = hub.clock().now_ms();
    let admins = all(hub.store()).await?.iter().filter(|other| other.is_admin_of_hub(now_ms)).count();
    if body.is_admin_of_hub(now_ms) && admins < 2 {
        return Err(malformed("the last admin of the whole hub cannot be revoked: make another first"));
    }
    if body.credential.is_none() {
        return Ok(Revoked { revision: at, is_new: false });
    }
    let revision = write(hub, author, &OperatorBody { credential: None, before: None, ..body }, at).await?;
    Ok(Revoked { revision, is_new: true })
}

async fn find(hub: &Hub, tenant: &TenantId, name: &str) -> Result<(OperatorBody, Revision), HubError> {
    let absent = || HubError::new(Reason::NotFound, format!("no operator {name:?} of {tenant}"));
    let current = hub.control(&hub_tenant()?, &key(tenant, name)?).await?.ok_or_else(absent)?;
    let body = control_body(Some(&current)).ok_or_else(absent)?;
    Ok((body, current.pointer.revision))
}

async fn write(hub: &Hub, author: NodeId, body: &OperatorBody, at: Revision) -> Result<Revision, HubError> {
    let key = key(&body.tenant, &body.name)?;
    match serde_json::to_value(body) {
        Ok(serde_json::Value::Object(body)) => {
            hub.set_control(&hub_tenant()?, author, key, Some(body), at).await
        }
        Ok(_) | Err(_) => Err(HubError::internal("an operator is no object")),
    }
}

fn key(tenant: &TenantId, name: &str) -> Result<Key, HubError> {
    control_key(kind::OPERATOR, &format!("{tenant}/{name}")).ok_or_else(|| malformed("name: it is no id"))
}

fn check_name(name: &str) -> Result<(), HubError> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > OPERATOR_NAME_CHARS_MAX || !name.chars().all(is_fine) {
        let detail =
            format!("name: 1 to {OPERATOR_NAME_CHARS_MAX} letters, digits, dots, hyphens and underscores");
        return Err(malformed(&detail));
    }
    Ok(())
}

fn malformed(detail: &str) -> HubError {
    HubError::new(Reason::Malformed, detail)
}
