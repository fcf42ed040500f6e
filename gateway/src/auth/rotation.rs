//! How a gateway follows the key of its access tokens: a person makes another in its folder, or another gateway rotates
//! the one they share.

use std::path::Path;
use std::sync::Arc;

use super::keys::{self, Rotated, TokenKey};
use super::{RETIRED_KEY_LIFE_S, Trust, blocking, facts};
use crate::hub::Hub;
use crate::hub::error::HubError;

/// The key that a gateway signs with which starts on a folder: another where the folder's was rotated elsewhere.
pub(super) async fn at_start(hub: &Arc<Hub>, dir: &Path, key: TokenKey) -> Result<TokenKey, HubError> {
    if !facts::is_rotated(hub.store(), &key.kid).await? {
        return Ok(key);
    }
    let (hub, dir) = (Arc::clone(hub), dir.to_owned());
    Ok(blocking(move || TokenKey::now(&dir, Some(&key.kid), hub.entropy())).await?.0)
}

impl Trust {
    /// Takes up what became of the keys of access tokens: signs with the key that the folder has, lets the tokens of the
    /// one it was rotated from be taken for [`RETIRED_KEY_LIFE_S`] more, and takes away what is past. A gateway with a
    /// copy of a key that another has rotated makes itself a new one. Gives the rotation that is done with this, once.
    /// Cut short, it is finished by doing it again. What other gateways have rotated is known here first, whatever the
    /// folder says.
    ///
    /// # Errors
    /// As [`Trust::open`].
    pub async fn follow_token_key(&self) -> Result<Option<Rotated>, HubError> {
        let (store, now_ms) = (self.hub.store(), self.hub.clock().now_ms());
        self.verifier.reload().await?;
        let (mut key, mut old) = self.token_key_now(None).await?;
        if facts::is_rotated(store, &key.kid).await? {
            (key, old) = self.token_key_now(Some(key.kid)).await?;
        }
        facts::add_token_key(store, &key.kid, &key.public).await?;
        let until_ms = now_ms.saturating_add(RETIRED_KEY_LIFE_S.saturating_mul(1_000));
        let (signs, kid) = (self.token_key.load_full(), key.kid.clone());
        let became = |before: &[u8; 32]| Rotated { kid: kid.clone(), before: keys::kid_of(before) };
        let mut rotated = None;
        if let Some(before) = &old {
            facts::rotate_token_key(store, before, until_ms).await?;
        }
        // Of a key that another was put in the place of by hand nothing is left in the folder.
        if signs.kid != kid && facts::rotate_token_key(store, &signs.public, until_ms).await? {
            rotated = Some(became(&signs.public));
        }
        // What is signed here is known here.
        self.verifier.reload().await?;
        self.token_key.store(Arc::new(key));
        facts::forget_token_keys(store, now_ms).await?;
        if let Some(before) = &old {
            let dir = self.dir.clone();
            // The file is what remembers that a rotation is not done: whoever takes it away, last of all, tells of it.
            if blocking(move || TokenKey::forget_old(&dir)).await? {
                rotated = Some(became(before));
            }
        }
        Ok(rotated)
    }

    async fn token_key_now(&self, retired: Option<String>) -> Result<(TokenKey, Option<[u8; 32]>), HubError> {
        let (hub, dir) = (Arc::clone(&self.hub), self.dir.clone());
        blocking(move || TokenKey::now(&dir, retired.as_deref(), hub.entropy())).await
    }
}
