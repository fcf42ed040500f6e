//! How a gateway follows the key of its access tokens: a person makes another in its folder, or another gateway rotates
//! the one they share.

use std::sync::Arc;

use super::keys::{self, Rotated, TokenKey};
use super::{RETIRED_KEY_LIFE_S, Trust, blocking, facts};
use crate::hub::error::HubError;

impl Trust {
    /// Takes up what became of the keys of access tokens: signs with the key that the folder has, lets the tokens of the
    /// one it was rotated from be taken for [`RETIRED_KEY_LIFE_S`] more, and takes away what is past. A gateway with a
    /// copy of a key that another has rotated makes itself a new one. Gives the rotation that was not known before.
    /// Cut short, it is finished by doing it again.
    ///
    /// # Errors
    /// As [`Trust::open`].
    pub async fn follow_token_key(&self) -> Result<Option<Rotated>, HubError> {
        let (store, now_ms) = (self.hub.store(), self.hub.clock().now_ms());
        let (mut key, mut old) = self.token_key_now(None).await?;
        if facts::is_rotated(store, &key.kid).await? {
            (key, old) = self.token_key_now(Some(key.kid)).await?;
        }
        facts::add_token_key(store, &key.kid, &key.public).await?;
        let until_ms = now_ms.saturating_add(RETIRED_KEY_LIFE_S.saturating_mul(1_000));
        let (signs, kid) = (self.token_key.load_full(), key.kid.clone());
        let mut rotated = None;
        for before in old.into_iter().chain((signs.kid != kid).then_some(signs.public)) {
            if facts::rotate_token_key(store, &before, until_ms).await? {
                rotated = Some(Rotated { kid: kid.clone(), before: keys::kid_of(&before) });
            }
        }
        // What is signed here is known here.
        self.verifier.reload().await?;
        self.token_key.store(Arc::new(key));
        if old.is_some() {
            let dir = self.dir.clone();
            blocking(move || TokenKey::forget_old(&dir)).await?;
        }
        facts::forget_token_keys(store, now_ms).await?;
        Ok(rotated)
    }

    async fn token_key_now(&self, retired: Option<String>) -> Result<(TokenKey, Option<[u8; 32]>), HubError> {
        let (hub, dir) = (Arc::clone(&self.hub), self.dir.clone());
        blocking(move || TokenKey::now(&dir, retired.as_deref(), hub.entropy())).await
    }
}
