//! A hub with its data folder, and nodes that join it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use gateway::ambient::Entropy;
use gateway::auth::{AuthHandler, Caller, JOIN_CONTEXT, KEYS_FOLDER, Transport, Trust};
use gateway::hub::error::HubError;
use gateway::hub::{Hub, Open, Paging, Parts, Retention};
use gateway::store::Store;
use gateway::store::memory::MemoryStore;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proto::v1;
use proto::v1::auth_service_server::AuthService;
use semantics::ids::{NodeId, TenantId};
use semantics::reason::Reason;
use serde_json::{Value, json};
use tonic::{Request, Status};

use super::ambient::TestClock;

pub const SYNC: &str = "/hubward.v1.SyncService/Session";
pub const ADMIN: &str = "/hubward.v1.AdminService/ListTenants";

/// Bytes that count, from another start in each hub: two hubs never have a key or token in common.
#[derive(Debug)]
pub struct HubEntropy(AtomicU64);

impl Default for HubEntropy {
    fn default() -> Self {
        static HUBS: AtomicU64 = AtomicU64::new(1);
        Self(AtomicU64::new(HUBS.fetch_add(1, Ordering::Relaxed) << 32))
    }
}

impl Entropy for HubEntropy {
    fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0xe0; 16];
        bytes[8..].copy_from_slice(&self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        bytes
    }
}

/// A folder that goes with the test.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Default for Folder {
    fn default() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hubward-auth-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<TestClock>,
    pub entropy: Arc<HubEntropy>,
    pub folder: Folder,
    pub tenant: TenantId,
    pub hub: Arc<Hub>,
    pub trust: Trust,
}

pub fn refuse(error: HubError) -> Status {
    proto::reason::status(&error.refusal, error.retry_after_ms, "")
}

pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> Reason {
    proto::reason::refusal_of(&answer.unwrap_err()).reason
}

pub fn hub_over(store: &Arc<dyn Store>, clock: &Arc<TestClock>, entropy: &Arc<HubEntropy>) -> Arc<Hub> {
    let (clock, entropy) = (Arc::<TestClock>::clone(clock), Arc::<HubEntropy>::clone(entropy));
    Arc::new(Hub::new(Parts {
        store: Arc::clone(store),
        clock,
        entropy,
        admission: Arc::new(Open),
        retention: Retention::default(),
        paging: Paging::default(),
    }))
}

impl World {
    pub async fn new() -> Self {
        Self::with(Arc::new(MemoryStore::new()), Arc::default(), Folder::default()).await
    }

    pub async fn with(store: Arc<dyn Store>, entropy: Arc<HubEntropy>, folder: Folder) -> Self {
        let clock = Arc::default();
        let hub = hub_over(&store, &clock, &entropy);
        let tenant = TenantId::new("acme").unwrap();
        hub.create_tenant(&tenant).await.unwrap();
        let trust = Trust::open(Arc::clone(&hub), &folder.0, Transport::Tls).await.unwrap();
        Self { store, clock, entropy, folder, tenant, hub, trust }
    }

    pub fn handler(&self) -> AuthHandler {
        self.trust.handler(refuse)
    }

    pub async fn token(&self, uses: u32) -> String {
        self.trust.create_token(&self.tenant, uses, 3_600).await.unwrap().token
    }

    pub async fn join(&self, token: &str, node: &Node) -> Result<NodeId, Status> {
        let joined = self.handler().join(Request::new(node.asks(token))).await?.into_inner();
        assert_eq!(joined.tenant, self.tenant.as_str());
        Ok(NodeId::from_slice(&joined.node).unwrap())
    }

    pub async fn joined(&self, name: &str) -> (Node, NodeId) {
        let node = Node::new(name);
        let id = self.join(&self.token(1).await, &node).await.unwrap();
        (node, id)
    }

    pub async fn exchange(&self, assertion: String) -> Result<String, Status> {
        let asked = Request::new(v1::ExchangeAssertionRequest { assertion });
        Ok(self.handler().exchange_assertion(asked).await?.into_inner().access_token)
    }

    pub fn now_s(&self) -> u64 {
        use gateway::ambient::Clock;
        self.clock.now_ms() / 1_000
    }

    /// The claims of a good assertion.
    pub fn claims(&self, node: NodeId, jti: &str) -> Value {
        let now_s = self.now_s();
        json!({"iss": node, "sub": node, "aud": "hubward/acme", "iat": now_s, "exp": now_s + 60, "jti": jti})
    }

    pub async fn caller(&self, path: &str, token: &str) -> Result<Caller, Reason> {
        let shown = format!("Bearer {token}");
        self.trust.verifier().caller(path, Some(shown.as_bytes())).await.map_err(|e| e.reason())
    }

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.0.join(name)).unwrap()
    }

    /// The key with which the hub signs access tokens.
    pub fn token_key(&self) -> SigningKey {
        SigningKey::from_pkcs8_pem(&self.file(&format!("{KEYS_FOLDER}/token.key"))).unwrap()
    }
}

pub struct Node {
    pub name: String,
    pub key: SigningKey,
}

impl Node {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let mut seed = [0x5a; 32];
        seed[..4].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self { name: name.to_owned(), key: SigningKey::from_bytes(&seed) }
    }

    pub fn asks(&self, token: &str) -> v1::JoinRequest {
        let signed = [JOIN_CONTEXT, token.as_bytes()].concat();
        v1::JoinRequest {
            token: token.to_owned(),
            name: self.name.clone(),
            node_type: "desktop".to_owned(),
            domain: String::new(),
            capabilities: vec!["camera".to_owned()],
            public_key: self.key.verifying_key().to_bytes().to_vec(),
            proof: self.key.sign(&signed).to_bytes().to_vec(),
        }
    }

    pub fn sign(&self, claims: &Value) -> String {
        jwt(&Header::new(Algorithm::EdDSA), claims, &self.key)
    }
}

pub fn jwt(header: &Header, claims: &Value, key: &SigningKey) -> String {
    let der = key.to_pkcs8_der().unwrap();
    jsonwebtoken::encode(header, claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap()
}

/// A token whose header says `alg`, signed with HMAC under these bytes, or not at all.
pub fn confused(header: &Value, claims: &Value, secret: Option<&[u8]>) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    if let Some(secret) = secret {
        let mut signed = Header::new(Algorithm::HS256);
        signed.kid = header["kid"].as_str().map(str::to_owned);
        return jsonwebtoken::encode(&signed, claims, &EncodingKey::from_secret(secret)).unwrap();
    }
    format!("{}.{}.", B64.encode(header.to_string()), B64.encode(claims.to_string()))
}
