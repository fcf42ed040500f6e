//! The hub's keys, in its data folder: made at the first start, never overwritten; of access tokens' a person may make
//! another.

use std::path::Path;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use jsonwebtoken::EncodingKey;
use semantics::ids::Digest;
use semantics::reason::Reason;
use sha2::{Digest as _, Sha256};

use super::ca::Ca;
use super::{files, secret};
use crate::ambient::Entropy;
use crate::hub::error::HubError;

/// Folder of the keys, in the data folder.
pub const KEYS_FOLDER: &str = "keys";
/// The CA's certificate, in the keys folder.
pub const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key.pem";
const TOKEN_KEY_FILE: &str = "token.key";
/// The key before a rotation that no gateway has taken up yet.
const TOKEN_KEY_OLD_FILE: &str = "token.key.old";
const LOG_KEY_FILE: &str = "log.key";

/// Everything the hub signs with.
#[derive(Debug)]
pub(super) struct Keys {
    /// Signs server certificates.
    pub(super) ca: Ca,
    /// Signs access tokens.
    pub(super) token: TokenKey,
}

/// The key that signs access tokens.
pub(super) struct TokenKey {
    /// Names the key in a token's header: the first 16 hexadecimal digits of the public key's SHA-256.
    pub(super) kid: String,
    /// Its public half, raw.
    pub(super) public: [u8; 32],
    /// Its private half.
    pub(super) signing: EncodingKey,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Names a public key.
pub(super) fn kid_of(public: &[u8]) -> String {
    let mut kid = hex::encode(Sha256::digest(public));
    kid.truncate(16);
    kid
}

impl Keys {
    /// Reads the keys, and makes those that are missing.
    ///
    /// # Errors
    /// STORE_CORRUPT for a key that does not read, PERMISSION_DENIED for one that another owns, STORE_UNSAFE for a
    /// folder that cannot be written; ALREADY_EXISTS
    /// when the store knows another CA than the folder's, which means that the folder is not this hub's.
    pub(super) fn open(
        dir: &Path,
        known_ca: Option<Digest>,
        entropy: &dyn Entropy,
        now_ms: u64,
    ) -> Result<Self, HubError> {
        let folder = dir.join(KEYS_FOLDER);
        let has_ca = folder.join(CA_KEY_FILE).exists();
        if known_ca.is_some() && !has_ca {
            return Err(foreign(&folder));
        }
        files::private_folder(&folder)?;
        let _held = files::lock(&folder)?;
        let key = files::read_or_make(&folder.join(CA_KEY_FILE), Ca::make_key)?;
        let certificate = files::read_or_make(&folder.join(CA_FILE), || Ca::make_certificate(&key, now_ms))?;
        let ca = Ca::read(&key, &certificate)?;
        if known_ca.is_some_and(|known| known != ca.key_digest()) {
            return Err(foreign(&folder));
        }
        let token = TokenKey::of(&ed25519(&folder.join(TOKEN_KEY_FILE), entropy)?)?;
        ed25519(&folder.join(LOG_KEY_FILE), entropy)?;
        Ok(Self { ca, token })
    }
}

impl TokenKey {
    fn of(key: &SigningKey) -> Result<Self, HubError> {
        let signing = key.to_pkcs8_der().map_err(|e| HubError::internal(e.to_string()))?;
        let public = key.verifying_key().to_bytes();
        Ok(Self { kid: kid_of(&public), public, signing: EncodingKey::from_ed_der(signing.as_bytes()) })
    }

    /// The key as the folder has it now, and the public half of the one that it was rotated from, until that is taken
    /// up. A key whose name is `retired` makes room for a new one.
    ///
    /// # Errors
    /// As [`Keys::open`].
    pub(super) fn now(
        dir: &Path,
        retired: Option<&str>,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Option<[u8; 32]>), HubError> {
        let folder = dir.join(KEYS_FOLDER);
        let _held = files::lock(&folder)?;
        let path = folder.join(TOKEN_KEY_FILE);
        let mut key = Self::of(&ed25519(&path, entropy)?)?;
        if retired == Some(key.kid.as_str()) {
            files::remove(&path)?;
            key = Self::of(&ed25519(&path, entropy)?)?;
        }
        let old = folder.join(TOKEN_KEY_OLD_FILE);
        let old = files::read(&old)?.map(|text| parse(&old, &text)).transpose()?;
        Ok((key, old.map(|old| old.verifying_key().to_bytes())))
    }

    /// Takes the key before the last rotation away. False: another gateway on this folder has done so.
    pub(super) fn forget_old(dir: &Path) -> Result<bool, HubError> {
        let folder = dir.join(KEYS_FOLDER);
        let _held = files::lock(&folder)?;
        let old = folder.join(TOKEN_KEY_OLD_FILE);
        let is_there = old.exists();
        files::remove(&old)?;
        Ok(is_there)
    }
}

/// Another key for access tokens was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Its name.
    pub kid: String,
    /// The name of the one before.
    pub before: String,
}

/// Makes another key for access tokens in a data folder. A gateway that runs on it takes it up within
/// [`super::TAKE_UP_S`], and one that starts on it at once. The new key belongs to the owner of the folder, whoever
/// makes it. A rotation that was cut short between setting the old key aside and naming the new one is finished by
/// doing it again.
///
/// # Errors
/// ALREADY_EXISTS while a rotation before was not taken up; NOT_FOUND without a key; PERMISSION_DENIED for who is
/// neither root nor the owner of the folder; as [`Keys::open`]. Then the key is the one before.
pub fn rotate_token_key(dir: &Path, entropy: &dyn Entropy) -> Result<Rotated, HubError> {
    let folder = dir.join(KEYS_FOLDER);
    let (path, old) = (folder.join(TOKEN_KEY_FILE), folder.join(TOKEN_KEY_OLD_FILE));
    let nothing = |path: &Path| {
        let detail = format!("there is no {}: name the hub's data folder", path.display());
        HubError::new(Reason::NotFound, detail)
    };
    if matches!(folder.try_exists(), Ok(false)) {
        return Err(nothing(&path));
    }
    let _held = files::lock(&folder)?;
    let (found, aside) = (files::read(&path)?, files::read(&old)?);
    let before = match (&found, &aside) {
        (None, None) => return Err(nothing(&path)),
        (Some(_), Some(_)) => {
            let detail = "the last rotation was not taken up: a hub that runs on this folder does so within a \
                          minute; where it does not, its log and `hubward doctor` say why";
            return Err(HubError::new(Reason::AlreadyExists, detail));
        }
        (Some(text), None) => parse(&path, text)?,
        (None, Some(text)) => parse(&old, text)?,
    };
    let next = SigningKey::from_bytes(&secret::bytes32(entropy));
    // All that may be refused comes before the old key leaves its place.
    let beside = files::write_beside(&path, &pem(&next)?)?;
    if found.is_some() {
        files::set_aside(&path)?;
    }
    beside.publish()?;
    Ok(Rotated { kid: TokenKey::of(&next)?.kid, before: TokenKey::of(&before)?.kid })
}

/// The name of the key of access tokens in a data folder, if there is one.
///
/// # Errors
/// STORE_CORRUPT for a key that does not read, PERMISSION_DENIED for one that may not be read.
pub fn token_kid(dir: &Path) -> Result<Option<String>, HubError> {
    let path = dir.join(KEYS_FOLDER).join(TOKEN_KEY_FILE);
    let Some(text) = files::read(&path)? else { return Ok(None) };
    Ok(Some(kid_of(parse(&path, &text)?.verifying_key().as_bytes())))
}

/// SHA-256 of the public key of the CA in a data folder, if there is one.
///
/// # Errors
/// STORE_CORRUPT for a key that does not read, STORE_UNSAFE for one that cannot be read.
pub fn ca_key_digest(dir: &Path) -> Result<Option<Digest>, HubError> {
    let folder = dir.join(KEYS_FOLDER);
    let key = files::read(&folder.join(CA_KEY_FILE))?;
    let certificate = files::read(&folder.join(CA_FILE))?;
    let (Some(key), Some(certificate)) = (key, certificate) else { return Ok(None) };
    Ok(Some(Ca::read(&key, &certificate)?.key_digest()))
}

fn ed25519(path: &Path, entropy: &dyn Entropy) -> Result<SigningKey, HubError> {
    let make = || pem(&SigningKey::from_bytes(&secret::bytes32(entropy)));
    parse(path, &files::read_or_make(path, make)?)
}

fn pem(key: &SigningKey) -> Result<String, HubError> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| HubError::internal(e.to_string()))?;
    Ok(pem.as_str().to_owned())
}

fn parse(path: &Path, text: &str) -> Result<SigningKey, HubError> {
    SigningKey::from_pkcs8_pem(text)
        .map_err(|e| HubError::new(Reason::StoreCorrupt, format!("{}: {e}", path.display())))
}

fn foreign(folder: &Path) -> HubError {
    let detail = format!(
        "the store belongs to a hub whose keys are not in {}: copy them there from its data folder",
        folder.display()
    );
    HubError::new(Reason::AlreadyExists, detail)
}
