//! Who is calling: from a call's path and its `authorization` to a [`Caller`], or a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::DecodingKey;
use semantics::reason::Reason;
use tokio::sync::{Mutex, Semaphore};

use super::checked::{Checked, CheckedTokens};
use super::facts::{Accepted, Known};
use super::keys::TokenKey;
use super::operators::{Credential, Operator};
use super::rights::{Right, right_of};
use super::{access, secret, services};
use crate::hub::error::HubError;
use crate::hub::{Hub, Principal};

/// Keys and operators are read again no more often than this, milliseconds; what another gateway changed is known
/// after twice that at most.
const REFRESH_MS: u64 = 400;
/// Most callers that wait at once for a look at the key their token names, which nobody here knows yet; further ones are
/// refused without it.
pub const UNKNOWN_KEYS_WAITING_MAX: usize = 256;

/// The call that gives access tokens to services.
const ISSUE: &str = "/hubward.v1.OperatorService/IssueAccessToken";

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who may remain unknown.
    Anyone,
    /// A node.
    Node {
        /// Which.
        principal: Principal,
        /// Until when its access token is valid, milliseconds since 1970-01-01 UTC. Long calls end then.
        expires_ms: u64,
    },
    /// An operator.
    Operator(Operator),
}

impl Caller {
    /// Itself, when it may call `path`.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub(super) fn allowed(self, path: &str) -> Result<Self, HubError> {
        let is_allowed = match (&self, right_of(path)) {
            (_, None) => false,
            (_, Some(Right::Anyone)) => true,
            (Self::Node { .. }, Some(right)) => right == Right::Node,
            (Self::Operator(operator), Some(right)) => right.is_held_by(operator),
            (Self::Anyone, Some(_)) => false,
        };
        if is_allowed { Ok(self) } else { Err(denied()) }
    }

    /// The node that the layer has found to be calling.
    ///
    /// # Errors
    /// UNAUTHENTICATED when no layer has looked, or it is no node.
    pub fn principal(extensions: &http::Extensions) -> Result<Principal, HubError> {
        match extensions.get::<Self>() {
            Some(Self::Node { principal, .. }) => Ok(principal.clone()),
            Some(Self::Anyone | Self::Operator(_)) | None => Err(refused("no node is calling")),
        }
    }

    /// The operator that the layer has found to be calling.
    ///
    /// # Errors
    /// UNAUTHENTICATED when no layer has looked, or it is none.
    pub fn operator(extensions: &http::Extensions) -> Result<Operator, HubError> {
        match extensions.get::<Self>() {
            Some(Self::Operator(operator)) => Ok(operator.clone()),
            Some(Self::Anyone | Self::Node { .. }) | None => Err(refused("no operator is calling")),
        }
    }
}

/// Checks proofs of identity.
#[derive(Debug)]
pub struct Verifier {
    hub: Arc<Hub>,
    issuer: String,
    known: ArcSwap<Known>,
    checked: CheckedTokens,
    read_ms: AtomicU64,
    reading: Mutex<()>,
    /// How many looks have begun, and which of them was the last that is done.
    begun: AtomicU64,
    done: AtomicU64,
    /// Who waits for the key of a token, and who of them looks for all.
    waiting: Semaphore,
    turn: Mutex<()>,
}

impl Verifier {
    pub(super) async fn open(hub: Arc<Hub>, issuer: String) -> Result<Self, HubError> {
        let known = ArcSwap::from_pointee(Known::read(hub.store()).await?);
        let read_ms = AtomicU64::new(hub.clock().now_ms());
        let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let (reading, turn) = (Mutex::new(()), Mutex::new(()));
        let waiting = Semaphore::new(UNKNOWN_KEYS_WAITING_MAX);
        let checked = CheckedTokens::default();
        Ok(Self { hub, issuer, known, checked, read_ms, reading, begun, done, waiting, turn })
    }

    /// Who calls `path` with this `authorization`.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a valid proof; PERMISSION_DENIED for a proof that does not reach, or a path that
    /// nobody may call; store errors.
    pub async fn caller(&self, path: &str, authorization: Option<&[u8]>) -> Result<Caller, HubError> {
        self.proven(path, authorization).await?.allowed(path)
    }

    /// Who calls `path` with this `authorization`, whether or not it may.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a valid proof; PERMISSION_DENIED for a path that nobody may call; store errors.
    pub(super) async fn proven(&self, path: &str, authorization: Option<&[u8]>) -> Result<Caller, HubError> {
        match right_of(path) {
            None => return Err(denied()),
            Some(Right::Anyone) => return Ok(Caller::Anyone),
            Some(_) => {}
        }
        let token = authorization.and_then(bearer).ok_or_else(|| refused("no bearer token"))?;
        if token.starts_with(secret::OPERATOR_PREFIX) {
            self.operator(token).await
        } else if let Some(checked) = self.checked.find(token, &self.known.load(), self.hub.clock().now_ms())
        {
            Ok(node(checked))
        } else if !services::is_one(token) {
            self.node(token).await
        } else if path == ISSUE {
            Err(refused("an access token gives no other: show the operator's credential"))
        } else {
            self.service(token).await
        }
    }

    /// A service's access token for whoever shows an operator's credential; and for how long it is valid, seconds.
    pub(super) async fn issue(
        &self,
        key: &TokenKey,
        authorization: Option<&[u8]>,
    ) -> Result<(String, u64), HubError> {
        let wrong = || refused("the operator credential is not valid");
        let token = authorization.and_then(bearer).ok_or_else(wrong)?;
        let shown = secret::read::<32>(secret::OPERATOR_PREFIX, token).ok_or_else(wrong)?;
        let shown = hex::encode(secret::hash(&shown));
        self.refresh().await?;
        let (now_ms, known) = (self.hub.clock().now_ms(), self.known.load());
        let is_it = |held: &Credential| secret::same(held.hash.as_bytes(), shown.as_bytes());
        let found = known.operators.iter().find_map(|operator| operator.held(now_ms, is_it));
        let (operator, held) = found.ok_or_else(wrong)?;
        services::sign(key, &self.issuer, (&operator, held), now_ms)
    }

    async fn service(&self, token: &str) -> Result<Caller, HubError> {
        let (_, key, now_ms) = self.accepted(token).await?;
        let claims = services::check(token, &key, &self.issuer, now_ms)?;
        // What another gateway has revoked is not taken from what was read long ago.
        self.refresh().await?;
        let known = self.known.load();
        let mut named = known
            .operators
            .iter()
            .filter(|operator| operator.tenant == claims.tenant && operator.name == claims.sub);
        let held =
            named.find_map(|operator| operator.held(now_ms, |held| services::mark(held) == claims.mark));
        let ended = || refused("the credential that the access token was given for is not valid any more");
        held.map(|(operator, _)| Caller::Operator(operator)).ok_or_else(ended)
    }

    async fn operator(&self, token: &str) -> Result<Caller, HubError> {
        let wrong = || refused("the operator credential is not valid");
        let credential = secret::read::<32>(secret::OPERATOR_PREFIX, token).ok_or_else(wrong)?;
        let hash = secret::hash(&credential);
        // What another gateway has revoked is not taken from what was read long ago.
        self.refresh().await?;
        let now_ms = self.hub.clock().now_ms();
        let known = self.known.load();
        let shown = known.operators.iter().find_map(|operator| operator.shown(&hash, now_ms));
        shown.map(Caller::Operator).ok_or_else(wrong)
    }

    async fn node(&self, token: &str) -> Result<Caller, HubError> {
        let (kid, key, now_ms) = self.accepted(token).await?;
        let (principal, times) = access::check(token, &key, &self.issuer, now_ms)?;
        let checked = Checked { kid, principal, times };
        self.checked.keep(token, checked.clone());
        Ok(node(checked))
    }

    /// The key that a token names, with its name, and the time it was looked at.
    async fn accepted(&self, token: &str) -> Result<(String, DecodingKey, u64), HubError> {
        let kid = access::kid_of(token)?;
        let mut key = self.key(&kid);
        if key.is_none() {
            self.look_anew().await?;
            key = self.key(&kid);
        }
        let key = key.ok_or_else(|| refused("the access token is signed with an unknown key"))?;
        let now_ms = self.hub.clock().now_ms();
        if !key.is_taken(now_ms) {
            return Err(refused("the access token is signed with a key that was rotated long ago"));
        }
        Ok((kid, key.key, now_ms))
    }

    fn key(&self, kid: &str) -> Option<Accepted> {
        self.known.load().keys.get(kid).cloned()
    }

    /// Reads again what another gateway may have changed, unless that was done just now. While the store does not
    /// answer, nothing older is taken for true.
    async fn refresh(&self) -> Result<(), HubError> {
        if !self.is_old() {
            return Ok(());
        }
        let reading = self.reading.lock().await;
        // Whoever was first has read for all who waited.
        if self.is_old() {
            self.read().await?;
        }
        drop(reading);
        Ok(())
    }

    /// Comes back after a look at the store that has begun after this: what a token was signed with is there before the
    /// token is. However many wait, there is one look for all, [`REFRESH_MS`] after the one before.
    async fn look_anew(&self) -> Result<(), HubError> {
        let asked = self.begun.load(Ordering::Acquire);
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(()) };
        let turn = self.turn.lock().await;
        if self.done.load(Ordering::Acquire) <= asked {
            tokio::time::sleep(Duration::from_millis(REFRESH_MS.saturating_sub(self.age_ms()))).await;
            let reading = self.reading.lock().await;
            if self.done.load(Ordering::Acquire) <= asked {
                self.read().await?;
            }
            drop(reading);
        }
        drop(turn);
        Ok(())
    }

    /// Takes what this gateway has just changed into account.
    pub(super) async fn reload(&self) -> Result<(), HubError> {
        let reading = self.reading.lock().await;
        self.read().await?;
        drop(reading);
        Ok(())
    }

    fn is_old(&self) -> bool {
        self.age_ms() >= REFRESH_MS
    }

    /// How long ago what is known was read.
    fn age_ms(&self) -> u64 {
        self.hub.clock().now_ms().abs_diff(self.read_ms.load(Ordering::Acquire))
    }

    async fn read(&self) -> Result<(), HubError> {
        let begun_ms = self.hub.clock().now_ms();
        let begun = self.begun.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        self.known.store(Arc::new(Known::read(self.hub.store()).await?));
        self.read_ms.store(begun_ms, Ordering::Release);
        self.done.store(begun, Ordering::Release);
        Ok(())
    }
}

fn node(Checked { principal, times: (.., exp_s), .. }: Checked) -> Caller {
    Caller::Node { principal, expires_ms: exp_s.saturating_mul(1_000) }
}

/// The same for everything that is not allowed, so that it tells nothing of what there is.
pub(crate) fn denied() -> HubError {
    HubError::new(Reason::PermissionDenied, "the credential does not reach this call, or this tenant")
}

/// The token in `Bearer TOKEN`.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(detail: &str) -> HubError {
    HubError::new(Reason::Unauthenticated, detail)
}
