//! Access tokens of services: what a program shows with each call instead of its operator's credential. The shape is
//! that of the client credentials grant (RFC 6749, section 4.4): the credential is shown to the one call that gives the
//! token. A token says who shows it, never what that one may do: the operator is looked up with each call, so that a
//! rotation or a revocation counts at once.

use jsonwebtoken::{Algorithm, DecodingKey, Header};
use semantics::ids::TenantId;
use semantics::reason::Reason;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::access::{ACCESS_LIFE_S, check_times, validation};
use super::keys::TokenKey;
use super::operators::{Credential, Operator};
use crate::hub::error::HubError;

/// Audience of the access tokens of services.
pub const SERVICE_AUDIENCE: &str = "hubward-operator";

/// Claims of a service's token, every one of them required and of one JSON type.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The operator's name.
    pub(super) sub: String,
    /// The operator's tenant.
    pub(super) tenant: TenantId,
    /// Which of its credentials was shown.
    pub(super) mark: String,
    iat: u64,
    nbf: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct Audience {
    aud: String,
}

/// Tells a credential from the others of its operator: 16 hexadecimal digits of the SHA-256 of its stored hash.
pub(super) fn mark(credential: &Credential) -> String {
    let mut mark = hex::encode(Sha256::digest(credential.hash.as_bytes()));
    mark.truncate(16);
    mark
}

/// Whether a token claims to be a service's. Only to learn how to check it.
pub(super) fn is_one(token: &str) -> bool {
    jsonwebtoken::dangerous::insecure_decode_claims::<Audience>(token)
        .is_ok_and(|claims| claims.aud == SERVICE_AUDIENCE)
}

/// Signs a token for an operator that has shown this credential; gives it and for how long it is valid, seconds: never
/// for longer than the credential.
pub(super) fn sign(
    key: &TokenKey,
    issuer: &str,
    (operator, shown): (&Operator, &Credential),
    now_ms: u64,
) -> Result<(String, u64), HubError> {
    let now_s = now_ms / 1_000;
    let left_s = shown.until_ms.map_or(ACCESS_LIFE_S, |until_ms| until_ms.saturating_sub(now_ms) / 1_000);
    let life_s = ACCESS_LIFE_S.min(left_s);
    let claims = Claims {
        iss: issuer.to_owned(),
        aud: SERVICE_AUDIENCE.to_owned(),
        sub: operator.name.clone(),
        tenant: operator.tenant.clone(),
        mark: mark(shown),
        iat: now_s,
        nbf: now_s,
        exp: now_s.saturating_add(life_s),
    };
    let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::EdDSA) };
    let token = jsonwebtoken::encode(&header, &claims, &key.signing);
    token.map(|token| (token, life_s)).map_err(|e| HubError::internal(e.to_string()))
}

/// Checks a token against the key it names.
pub(super) fn check(token: &str, key: &DecodingKey, issuer: &str, now_ms: u64) -> Result<Claims, HubError> {
    let mut validation = validation();
    validation.set_audience(&[SERVICE_AUDIENCE]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
    let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
        .map_err(|e| HubError::new(Reason::Unauthenticated, format!("the access token: {e}")))?
        .claims;
    check_times((claims.iat, claims.nbf, claims.exp), now_ms)?;
    Ok(claims)
}
