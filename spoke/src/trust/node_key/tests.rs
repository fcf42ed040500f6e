use ed25519_dalek::{Signature, VerifyingKey};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::Value;

use super::*;

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hubward-node-key-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn key(&self) -> std::path::PathBuf {
        self.0.join("node.key")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

#[test]
fn a_key_is_made_once_and_for_its_owner_alone() {
    let folder = Folder::new("once");
    let made = NodeKey::create(&folder.key(), [1; 32]).unwrap();
    assert_eq!(NodeKey::load(&folder.key()).unwrap().public_key(), made.public_key());
    let again = NodeKey::create(&folder.key(), [2; 32]).unwrap();
    assert_eq!(again.public_key(), made.public_key(), "never overwritten");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn an_absent_or_damaged_key_is_said() {
    let folder = Folder::new("damaged");
    assert_eq!(NodeKey::load(&folder.key()).unwrap_err().reason, Reason::NotJoined);
    std::fs::write(folder.key(), "no key").unwrap();
    assert_eq!(NodeKey::create(&folder.key(), [1; 32]).unwrap_err().reason, Reason::StoreCorrupt);
}

#[test]
fn what_the_key_signs_says_what_it_is_for() {
    let folder = Folder::new("signs");
    let key = NodeKey::create(&folder.key(), [1; 32]).unwrap();
    let public = VerifyingKey::from_bytes(&key.public_key()).unwrap();
    let proof = Signature::from_slice(&key.prove_join("hwj1_x")).unwrap();
    public.verify_strict(b"hubward join v1hwj1_x", &proof).unwrap();

    let (tenant, node) = (TenantId::new("acme").unwrap(), NodeId([3; 16]));
    let assertion = key.assertion(&tenant, node, [4; 16], 1_700_000_000_123).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.set_audience(&["hubward/acme"]);
    let checked =
        jsonwebtoken::decode::<Value>(&assertion, &DecodingKey::from_ed_der(&key.public_key()), &validation);
    let claims = checked.unwrap().claims;
    assert_eq!(claims["iss"], node.to_string());
    assert_eq!(claims["sub"], node.to_string());
    assert_eq!(claims["iat"], 1_700_000_000u64);
    assert_eq!(claims["exp"], 1_700_000_060u64);
    assert_eq!(claims["jti"], "04".repeat(16));
}
