//! Access tokens: got from the hub for an assertion, kept while they are good, renewed before they end.

use std::sync::Arc;

use proto::v1::ExchangeAssertionRequest;
use proto::v1::auth_service_client::AuthServiceClient;
use semantics::ids::{NodeId, TenantId};
use semantics::reason::{Reason, Refusal};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tonic::Status;
use tonic::transport::Channel;

use super::node_key::NodeKey;

/// A token is renewed when no more than this part of its life is left: one in …
const RENEW_AT_PART: u64 = 5;
/// A clock this far from the hub's is corrected before an assertion is signed anew, milliseconds.
const CORRECTED_MS: u64 = 1_000;
/// Trailer of a refused exchange: the hub's time, milliseconds since 1970-01-01 UTC.
const HUB_TIME: &str = "hubward-time-ms";

/// The access tokens of one node.
#[derive(Debug)]
pub struct AccessTokens {
    key: Arc<NodeKey>,
    tenant: TenantId,
    node: NodeId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The hub's clock minus ours, milliseconds.
    ahead_ms: i64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("ahead_ms", &self.ahead_ms).finish_non_exhaustive()
    }
}

struct Held {
    bearer: String,
    renew_ms: u64,
    expires_ms: u64,
}

impl AccessTokens {
    /// None yet.
    #[must_use]
    pub fn new(key: Arc<NodeKey>, tenant: TenantId, node: NodeId) -> Self {
        Self { key, tenant, node, state: Mutex::default() }
    }

    /// The value of `authorization` for a call now: `Bearer` and a token. `jti` is 16 random bytes, in case an
    /// assertion must be signed. Callers at the same time share one exchange.
    ///
    /// # Errors
    /// What the hub refuses; UNREACHABLE and the like while it cannot be asked and no token is left.
    pub async fn bearer(&self, channel: Channel, jti: [u8; 16], now_ms: u64) -> Result<String, Refusal> {
        let mut state = self.state.lock().await;
        if let Some(held) = state.held.as_ref().filter(|held| now_ms < held.renew_ms) {
            return Ok(held.bearer.clone());
        }
        match self.exchange(&mut state, channel, jti, now_ms).await {
            Ok(held) => Ok(state.held.insert(held).bearer.clone()),
            Err(refusal) => match state.held.as_ref().filter(|held| now_ms < held.expires_ms) {
                Some(held) if refusal.reason.is_transient() => Ok(held.bearer.clone()),
                Some(_) | None => Err(refusal),
            },
        }
    }

    /// Forgets the token held, because the hub no longer takes it.
    pub async fn forget(&self) {
        self.state.lock().await.held = None;
    }

    async fn exchange(
        &self,
        state: &mut State,
        channel: Channel,
        jti: [u8; 16],
        now_ms: u64,
    ) -> Result<Held, Refusal> {
        let mut client = AuthServiceClient::new(channel);
        let hub_ms = now_ms.saturating_add_signed(state.ahead_ms);
        let status = match self.ask(&mut client, jti, hub_ms, now_ms).await? {
            Ok(held) => return Ok(held),
            Err(status) => status,
        };
        let Some(told_ms) = hub_time(&status).filter(|told| told.abs_diff(hub_ms) > CORRECTED_MS) else {
            return Err(proto::reason::refusal_of(&status));
        };
        // Our clock is wrong: sign once more, for the hub's time.
        state.ahead_ms = told_ms.checked_signed_diff(now_ms).unwrap_or_default();
        let answer = self.ask(&mut client, next(jti), told_ms, now_ms).await?;
        answer.map_err(|status| proto::reason::refusal_of(&status))
    }

    async fn ask(
        &self,
        client: &mut AuthServiceClient<Channel>,
        jti: [u8; 16],
        hub_ms: u64,
        now_ms: u64,
    ) -> Result<Result<Held, Status>, Refusal> {
        let assertion = self.key.assertion(&self.tenant, self.node, jti, hub_ms)?;
        let given = match client.exchange_assertion(ExchangeAssertionRequest { assertion }).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        let life_ms = given.expires_in_s.saturating_mul(1_000);
        Ok(Ok(Held {
            bearer: format!("Bearer {}", given.access_token),
            renew_ms: now_ms.saturating_add(life_ms - life_ms / RENEW_AT_PART),
            expires_ms: now_ms.saturating_add(life_ms),
        }))
    }
}

/// What the hub says its time is, where it refused an assertion as such.
fn hub_time(status: &Status) -> Option<u64> {
    if proto::reason::refusal_of(status).reason != Reason::Unauthenticated {
        return None;
    }
    status.metadata().get(HUB_TIME)?.to_str().ok()?.parse().ok()
}

/// Another unguessable id, from one.
fn next(jti: [u8; 16]) -> [u8; 16] {
    let hash = Sha256::digest(jti);
    let mut next = [0; 16];
    next.copy_from_slice(&hash[..16]);
    next
}

#[cfg(test)]
mod tests;
