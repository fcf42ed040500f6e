//! Access tokens: what a node shows with each call. JWTs (RFC 7519) signed by the hub with EdDSA and nothing else.

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use semantics::ids::{NodeId, TenantId};
use semantics::reason::Reason;
use serde::{Deserialize, Serialize};

use super::keys::TokenKey;
use crate::hub::Principal;
use crate::hub::error::HubError;

/// Audience of access tokens.
pub const ACCESS_AUDIENCE: &str = "hubward-spoke";
/// How long an access token is valid, seconds.
pub const ACCESS_LIFE_S: u64 = 15 * 60;
/// How far the clocks of two gateways, or of a spoke and its hub, may differ, seconds.
pub const LEEWAY_S: u64 = 5;
/// A gateway takes a rotation of its key up within this, twice the time between two looks, seconds.
pub const TAKE_UP_S: u64 = 120;
/// For how long tokens of a rotated key are taken: until the last that any gateway may have signed with it has ended,
/// seconds.
pub const RETIRED_KEY_LIFE_S: u64 = TAKE_UP_S + ACCESS_LIFE_S + LEEWAY_S;
/// Longest token looked at, bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 4_096;

/// Claims of an access token, every one of them required and of one JSON type.
#[derive(Debug, Serialize, Deserialize)]
struct AccessClaims {
    iss: String,
    aud: String,
    sub: NodeId,
    tenant: TenantId,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// Signs an access token for a node.
pub(super) fn sign(
    key: &TokenKey,
    issuer: &str,
    principal: &Principal,
    now_ms: u64,
) -> Result<String, HubError> {
    let now_s = now_ms / 1_000;
    let claims = AccessClaims {
        iss: issuer.to_owned(),
        aud: ACCESS_AUDIENCE.to_owned(),
        sub: principal.node,
        tenant: principal.tenant.clone(),
        iat: now_s,
        nbf: now_s,
        exp: now_s.saturating_add(ACCESS_LIFE_S),
    };
    let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, &key.signing).map_err(|e| HubError::internal(e.to_string()))
}

/// Which key a token claims to be signed with; refused unless it claims EdDSA.
pub(super) fn kid_of(token: &str) -> Result<String, HubError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refused("the access token is too long"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| refused("no access token"))?;
    match header.kid {
        Some(kid) if header.alg == Algorithm::EdDSA => Ok(kid),
        Some(_) | None => Err(refused("the access token names no key, or another algorithm")),
    }
}

/// `iat`, `nbf` and `exp` of a token, seconds since 1970-01-01 UTC.
pub(super) type AccessTimes = (u64, u64, u64);

/// Checks a token against the key it names. Gives who shows it, and its times.
pub(super) fn check(
    token: &str,
    key: &DecodingKey,
    issuer: &str,
    now_ms: u64,
) -> Result<(Principal, AccessTimes), HubError> {
    let mut validation = validation();
    validation.set_audience(&[ACCESS_AUDIENCE]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
    let claims = jsonwebtoken::decode::<AccessClaims>(token, key, &validation)
        .map_err(|e| refused(format!("the access token: {e}")))?
        .claims;
    let times = (claims.iat, claims.nbf, claims.exp);
    check_times(times, now_ms)?;
    Ok((Principal { tenant: claims.tenant, node: claims.sub }, times))
}

/// Whether a token with these times is good now, and was given for no longer than tokens are.
pub(super) fn check_times((iat, nbf, exp): AccessTimes, now_ms: u64) -> Result<(), HubError> {
    let now_s = now_ms / 1_000;
    if exp.saturating_add(LEEWAY_S) <= now_s {
        return Err(refused("the access token has expired"));
    }
    let soon_s = now_s.saturating_add(LEEWAY_S);
    if nbf > soon_s || iat > soon_s || exp > soon_s.saturating_add(ACCESS_LIFE_S) {
        return Err(refused("the access token is not valid yet"));
    }
    Ok(())
}

/// EdDSA only. Times are checked by the callers: the library reads the machine's clock.
pub(super) fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn refused(detail: impl Into<String>) -> HubError {
    HubError::new(Reason::Unauthenticated, detail)
}
