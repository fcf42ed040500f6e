//! Trust: the hub's keys, how nodes join, how callers prove who they are, and who may call what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use semantics::ids::{Digest, TenantId};
use semantics::reason::Reason;

mod access;
pub mod ca;
mod checked;
mod exchange;
mod facts;
mod files;
mod issues;
mod join;
mod keys;
pub mod layer;
mod offline;
mod operators;
pub mod rights;
mod rotation;
mod secret;
mod service;
mod services;
mod tokens;
mod verifier;

pub use self::access::{ACCESS_AUDIENCE, ACCESS_LIFE_S, LEEWAY_S, RETIRED_KEY_LIFE_S, TAKE_UP_S};
pub use self::exchange::{ASSERTION_AUDIENCE, ASSERTION_LIFE_S};
pub(crate) use self::facts::{CA, restored as restored_fact};
pub use self::issues::{ISSUES_PER_MINUTE, JOINS_PER_MINUTE, NODE_ISSUES_PER_MINUTE};
pub use self::join::JOIN_CONTEXT;
pub use self::keys::{CA_FILE, KEYS_FOLDER, Rotated, ca_key_digest, rotate_token_key, token_kid};
pub use self::offline::{KnownKey, known_token_keys, retire_token_key};
pub use self::operators::{
    FIRST, GRACE_S_MAX, OPERATOR_NAME_CHARS_MAX, OPERATOR_NAMES_MAX, OPERATOR_TTL_S_DEFAULT,
    OPERATOR_TTL_S_MAX, OPERATORS_MAX, OPERATORS_OF_TENANT_MAX, Operator, OperatorBody, Revoked, author_of,
};
pub use self::service::{AuthHandler, HUB_TIME};
pub use self::services::SERVICE_AUDIENCE;
pub use self::tokens::{
    CreatedToken, JoinToken, TOKEN_TTL_S_MAX, TOKEN_USES_MAX, TOKENS_MAX, TOKENS_OF_TENANT_MAX,
};
pub(crate) use self::verifier::denied;
pub use self::verifier::{Caller, UNKNOWN_KEYS_WAITING_MAX, Verifier};

use self::ca::Ca;
use self::issues::Issues;
use self::keys::{Keys, TokenKey};
use self::layer::Refuse;
use self::operators::Credential;
use self::tokens::{Most, Wanted};
use crate::hub::Hub;
use crate::hub::error::HubError;

/// The reserved tenant of hub-wide facts.
pub const HUB_TENANT: &str = "hub";
/// File of the first operator's credential, in the data folder.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";
/// Most rows looked at in one sweep.
const SWEEP_ROWS_MAX: usize = 10_000;

/// The reserved tenant of hub-wide facts.
///
/// # Errors
/// Never: the name is a valid one.
pub fn hub_tenant() -> Result<TenantId, HubError> {
    TenantId::new(HUB_TENANT).map_err(|e| HubError::internal(e.to_string()))
}

/// How spokes reach this hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS; join tokens pin the CA.
    Tls,
    /// In clear text on loopback, while developing; join tokens pin nothing.
    Plaintext,
}

/// What the hub's trust rests on.
#[derive(Debug)]
pub struct Trust {
    hub: Arc<Hub>,
    issuer: String,
    ca: Arc<Ca>,
    dir: PathBuf,
    token_key: Arc<ArcSwap<TokenKey>>,
    verifier: Arc<Verifier>,
    transport: Transport,
    rates: Rates,
}

/// How often callers may ask for what leaves something behind.
#[derive(Debug, Clone)]
struct Rates {
    operators: Issues,
    nodes: Issues,
    joins: Issues,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            operators: Issues::new(ISSUES_PER_MINUTE, "the access tokens that an operator is given:"),
            nodes: Issues::new(NODE_ISSUES_PER_MINUTE, "the access tokens that a node is given:"),
            joins: Issues::new(JOINS_PER_MINUTE, "the joins that one joiner may ask for:"),
        }
    }
}

impl Trust {
    /// Opens the data folder `dir`. Whatever is missing is made: the tenant `hub`, the keys, the first operator's
    /// credential. Doing it again, or in two processes at once, changes nothing.
    ///
    /// # Errors
    /// ALREADY_EXISTS when the store belongs to a hub with other keys; PERMISSION_DENIED for a key that another user
    /// owns; STORE_UNSAFE for a folder that cannot be written; STORE_CORRUPT for a key that does not read; store errors.
    pub async fn open(hub: Arc<Hub>, dir: &Path, transport: Transport) -> Result<Self, HubError> {
        let tenant = hub_tenant()?;
        hub.create_tenant(&tenant).await?;
        let issuer = format!("hubward/{}", hub.store().head(&tenant).await?.log_id);
        let keys = open_keys(&hub, dir).await?;
        let digest = keys.ca.key_digest();
        if facts::set_ca(hub.store(), digest).await? != digest {
            let detail = "another gateway has just made this store its own, with another CA";
            return Err(HubError::new(Reason::AlreadyExists, detail));
        }
        let token = rotation::at_start(&hub, dir, keys.token).await?;
        facts::add_token_key(hub.store(), &token.kid, &token.public).await?;
        open_operator(&hub, dir).await?;
        let verifier = Arc::new(Verifier::open(Arc::clone(&hub), issuer.clone()).await?);
        let (ca, token_key) = (Arc::new(keys.ca), Arc::new(ArcSwap::from_pointee(token)));
        let rates = Rates::default();
        Ok(Self { hub, issuer, ca, dir: dir.to_owned(), token_key, verifier, transport, rates })
    }

    /// Checks callers.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.verifier)
    }

    /// The handler of `AuthService`.
    #[must_use]
    pub fn handler(&self, refuse: Refuse) -> AuthHandler {
        let key = Arc::clone(&self.token_key);
        let (hub, issuer) = (Arc::clone(&self.hub), self.issuer.clone());
        AuthHandler { hub, issuer, key, refuse, access: None, rates: self.rates.clone() }
    }

    /// The certificate authority.
    #[must_use]
    pub fn ca(&self) -> Arc<Ca> {
        Arc::clone(&self.ca)
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.ca.pem()
    }

    /// SHA-256 of the CA's public key.
    #[must_use]
    pub fn ca_key_digest(&self) -> Digest {
        self.ca.key_digest()
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// NOT_FOUND for a tenant that does not exist, PERMISSION_DENIED for the tenant `hub`, MALFORMED past
    /// [`TOKEN_USES_MAX`] and [`TOKEN_TTL_S_MAX`]; QUOTA_EXCEEDED past [`TOKENS_OF_TENANT_MAX`] and [`TOKENS_MAX`]; store
    /// errors.
    pub async fn create_token(
        &self,
        tenant: &TenantId,
        uses: u32,
        ttl_s: u64,
    ) -> Result<CreatedToken, HubError> {
        if *tenant == hub_tenant()? {
            return Err(HubError::new(Reason::PermissionDenied, "no node joins the tenant hub"));
        }
        if !(1..=TOKEN_USES_MAX).contains(&uses) || !(1..=TOKEN_TTL_S_MAX).contains(&ttl_s) {
            let detail = format!("uses: 1 to {TOKEN_USES_MAX}; ttl_s: 1 to {TOKEN_TTL_S_MAX}");
            return Err(HubError::new(Reason::Malformed, detail));
        }
        self.hub.store().head(tenant).await?;
        let now_ms = self.hub.clock().now_ms();
        let expires_ms = now_ms.saturating_add(ttl_s.saturating_mul(1_000));
        let pin = match self.transport {
            Transport::Tls => self.ca.key_digest().0,
            Transport::Plaintext => [0; 32],
        };
        let wanted = Wanted { tenant, uses, now_ms, expires_ms, pin: &pin };
        tokens::create(self.hub.store(), self.hub.entropy(), wanted, Most::default()).await
    }

    /// A tenant's join tokens that have not expired, at most `max` after this place, in the order of their ids; and the
    /// place after which to go on, if there may be more. Past [`SWEEP_ROWS_MAX`] tokens of all tenants that were looked at
    /// there are fewer.
    ///
    /// # Errors
    /// NOT_FOUND for a tenant that does not exist; store errors.
    pub async fn tokens(
        &self,
        tenant: &TenantId,
        after: Option<Vec<u8>>,
        max: usize,
    ) -> Result<(Vec<JoinToken>, Option<Vec<u8>>), HubError> {
        self.hub.store().head(tenant).await?;
        let look = (self.hub.clock().now_ms(), SWEEP_ROWS_MAX);
        tokens::list(self.hub.store(), tenant, after, max, look).await
    }

    /// Takes a join token back. Gives what was left of it.
    ///
    /// # Errors
    /// NOT_FOUND for one that the tenant has not, or that has expired; MALFORMED for what is no id; store errors.
    pub async fn revoke_token(&self, tenant: &TenantId, id: &str) -> Result<JoinToken, HubError> {
        self.hub.store().head(tenant).await?;
        tokens::revoke(self.hub.store(), tenant, id, self.hub.clock().now_ms()).await
    }

    /// Makes an operator, with a credential that is shown this once and until when it is good.
    ///
    /// # Errors
    /// ALREADY_EXISTS for a name that is or was taken, NOT_FOUND for a tenant that is not there, MALFORMED for a name,
    /// role or time out of bounds, TOO_LARGE past [`OPERATORS_MAX`]; store errors.
    pub async fn create_operator(
        &self,
        by: &Operator,
        new: &Operator,
        ttl_s: Option<u64>,
    ) -> Result<(String, u64), HubError> {
        let (text, hash) = self.credential();
        let until_ms = self.until(ttl_s.unwrap_or(OPERATOR_TTL_S_DEFAULT), "ttl_s", OPERATOR_TTL_S_MAX)?;
        operators::create(&self.hub, by.author(), new, &hash, Some(until_ms)).await?;
        self.verifier.reload().await?;
        Ok((text, until_ms))
    }

    /// Gives an operator another credential; the one before is good for `grace_s` more seconds.
    ///
    /// # Errors
    /// NOT_FOUND for one that is not there or revoked; MALFORMED for times out of bounds; STALE; store errors.
    pub async fn rotate_operator(
        &self,
        by: &Operator,
        (tenant, name): (&TenantId, &str),
        ttl_s: Option<u64>,
        grace_s: u64,
    ) -> Result<(String, u64), HubError> {
        let (text, hash) = self.credential();
        let until_ms = self.until(ttl_s.unwrap_or(OPERATOR_TTL_S_DEFAULT), "ttl_s", OPERATOR_TTL_S_MAX)?;
        let before_until_ms = match grace_s {
            0 => self.hub.clock().now_ms(),
            _ => self.until(grace_s, "grace_s", GRACE_S_MAX)?,
        };
        let next = Credential { hash: hex::encode(hash), until_ms: Some(until_ms) };
        operators::rotate(&self.hub, by.author(), (tenant, name), next, before_until_ms).await?;
        self.verifier.reload().await?;
        Ok((text, until_ms))
    }

    /// An access token for the operator `by`, who shows its credential in `authorization`, and for how long it is valid,
    /// seconds: [`ACCESS_LIFE_S`] at most.
    ///
    /// # Errors
    /// QUOTA_EXCEEDED past [`ISSUES_PER_MINUTE`]; UNAUTHENTICATED; store errors.
    pub async fn issue_service_token(
        &self,
        by: &Operator,
        authorization: Option<&[u8]>,
    ) -> Result<(String, u64), HubError> {
        self.rates.operators.take(&by.tenant, &by.name, self.hub.clock().now_ms())?;
        self.verifier.issue(&self.token_key.load_full(), authorization).await
    }

    /// Ends an operator for good.
    ///
    /// # Errors
    /// NOT_FOUND; MALFORMED for the last admin of the whole hub; STALE; store errors.
    pub async fn revoke_operator(
        &self,
        by: &Operator,
        tenant: &TenantId,
        name: &str,
    ) -> Result<Revoked, HubError> {
        let revoked = operators::revoke(&self.hub, by.author(), tenant, name).await?;
        self.verifier.reload().await?;
        Ok(revoked)
    }

    /// Every operator, revoked ones included.
    ///
    /// # Errors
    /// Store errors.
    pub async fn every_operator(&self) -> Result<Vec<OperatorBody>, HubError> {
        operators::all(self.hub.store()).await
    }

    /// The operators of a tenant, in name order, revoked ones included.
    ///
    /// # Errors
    /// Store errors.
    pub async fn operators(&self, tenant: &TenantId) -> Result<Vec<OperatorBody>, HubError> {
        let mut found = operators::all(self.hub.store()).await?;
        found.retain(|operator| operator.tenant == *tenant);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn credential(&self) -> (String, [u8; 32]) {
        let credential = secret::bytes32(self.hub.entropy());
        (secret::write(secret::OPERATOR_PREFIX, &credential), secret::hash(&credential))
    }

    fn until(&self, seconds: u64, name: &str, max: u64) -> Result<u64, HubError> {
        if !(1..=max).contains(&seconds) {
            return Err(HubError::new(Reason::Malformed, format!("{name}: 1 to {max} seconds")));
        }
        Ok(self.hub.clock().now_ms().saturating_add(seconds.saturating_mul(1_000)))
    }

    /// Deletes marks of used assertions of a tenant, and join tokens, that have expired. Any gateway may do it at
    /// any time.
    ///
    /// # Errors
    /// Store errors.
    pub async fn sweep(&self, tenant: &TenantId) -> Result<(), HubError> {
        exchange::sweep(&self.hub, tenant, SWEEP_ROWS_MAX).await?;
        tokens::sweep(self.hub.store(), self.hub.clock().now_ms(), SWEEP_ROWS_MAX).await
    }
}

/// Files are read and locked where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| HubError::internal(e.to_string()))?
}

async fn open_keys(hub: &Arc<Hub>, dir: &Path) -> Result<Keys, HubError> {
    let known = facts::ca(hub.store()).await?;
    let (hub, dir) = (Arc::clone(hub), PathBuf::from(dir));
    blocking(move || Keys::open(&dir, known, hub.entropy(), hub.clock().now_ms())).await
}

/// The first operator, an admin of the whole hub: made with the hub, and again, with another credential, when it
/// starts and no admin of the whole hub is left. Who can start a hub on its data folder can do everything anyway.
async fn open_operator(hub: &Arc<Hub>, dir: &Path) -> Result<(), HubError> {
    if operators::has_admin(hub).await? {
        return Ok(());
    }
    let is_first = operators::all(hub.store()).await?.is_empty();
    let (entropy_of, dir) = (Arc::clone(hub), PathBuf::from(dir));
    let made = tokio::task::spawn_blocking(move || {
        let _held = files::lock(&dir.join(KEYS_FOLDER))?;
        let file = dir.join(OPERATOR_TOKEN_FILE);
        if !is_first {
            // The credential in it is good for nothing any more.
            files::set_aside(&file)?;
        }
        files::read_or_make(&file, || {
            Ok(secret::write(secret::OPERATOR_PREFIX, &secret::bytes32(entropy_of.entropy())))
        })
    });
    let text = made.await.map_err(|e| HubError::internal(e.to_string()))??;
    let credential = secret::read::<32>(secret::OPERATOR_PREFIX, text.trim());
    let credential = credential.ok_or_else(|| {
        HubError::new(Reason::StoreCorrupt, format!("{OPERATOR_TOKEN_FILE} is no credential"))
    })?;
    match operators::make_first(hub, &secret::hash(&credential)).await {
        // Another process has made it just now.
        Err(error) if error.reason() == Reason::Stale => Ok(()),
        done => done,
    }
}
