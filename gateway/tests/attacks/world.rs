//! The hub that is attacked, and those who know it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use gateway::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use gateway::auth::KEYS_FOLDER;
use gateway::config::{Config, Quotas, StoreAt};
use gateway::serve::{self, Running};
use gateway::tls::client::channel;
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::auth_service_client::AuthServiceClient;
use proto::v1::sync_service_client::SyncServiceClient;
use tonic::Request;
use tonic::transport::Channel;

use super::node::{Key, Node};

/// Longest wait for what should come at once.
pub const SOON: Duration = Duration::from_secs(5);
/// The tenant that is attacked.
pub const TENANT: &str = "acme";
/// Another tenant of the same hub.
pub const OTHER_TENANT: &str = "zoo";

/// What an attack must not change.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub head: v1::TenantView,
    pub records: (u64, Vec<u8>),
    other: v1::TenantView,
    nodes: usize,
}

/// A hub over TLS.
pub struct Hub {
    pub running: Running,
    pub folder: PathBuf,
    pub ca_pem: String,
    pub operator: String,
    pub spokes: Channel,
    pub operators: Channel,
}

/// The hub, another one, and nodes: one that writes what is there, one that attacks, and others.
pub struct World {
    pub hub: Hub,
    pub other_hub: Hub,
    pub honest: Node,
    pub mallory: Node,
    /// Never pushes, so that each of its sessions begins the same.
    pub talker: Node,
    pub stranger: Node,
    pub revoked: Node,
    /// Shown another domain than it writes in.
    pub narrow: Node,
    /// Reads more than one page: what lies in a domain of its own.
    pub owner: Node,
    before: Mutex<Option<State>>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Hub {
    async fn new() -> Self {
        let folder =
            std::env::temp_dir().join(format!("hubward-attacks-{}", hex::encode(SystemEntropy.bytes16())));
        let free = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            dev: false,
            store: StoreAt::Memory,
            listen: free,
            operator_listen: free,
            hostnames: Vec::new(),
            data: folder.clone(),
            drain_lead: Duration::ZERO,
            metrics_tenant_labels: true,
            quotas: Quotas::default(),
            resolver: None,
        };
        let opened = serve::open(&config).await.unwrap();
        let ca_pem = opened.trust.ca_pem().to_owned();
        let running = serve::start(&config, opened).await.unwrap();
        let operator = std::fs::read_to_string(folder.join("operator.token")).unwrap().trim().to_owned();
        let at = |address| format!("https://{address}");
        let spokes = channel(&at(running.at.listen), Some(&ca_pem)).await.unwrap();
        let operators = channel(&at(running.at.operator_listen), Some(&ca_pem)).await.unwrap();
        let hub = Self { running, folder, ca_pem, operator, spokes, operators };
        for tenant in [TENANT, OTHER_TENANT] {
            let request = v1::CreateTenantRequest { tenant: tenant.to_owned() };
            hub.admin().create_tenant(hub.by_operator(request)).await.unwrap();
        }
        hub
    }

    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.operators.clone())
    }

    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.spokes.clone())
    }

    pub fn sync(&self) -> SyncServiceClient<Channel> {
        SyncServiceClient::new(self.spokes.clone())
    }

    pub fn by_operator<T>(&self, message: T) -> Request<T> {
        with_token(message, &self.operator)
    }

    /// The key with which it signs access tokens: what an attacker would like to have.
    pub fn token_key(&self) -> SigningKey {
        let pem = std::fs::read_to_string(self.folder.join(format!("{KEYS_FOLDER}/token.key"))).unwrap();
        SigningKey::from_pkcs8_pem(&pem).unwrap()
    }

    pub async fn join_token(&self, tenant: &str, uses: u32) -> String {
        let request =
            v1::CreateTokenRequest { tenant: tenant.to_owned(), uses: Some(uses), ttl_s: Some(600) };
        self.admin().create_token(self.by_operator(request)).await.unwrap().into_inner().token
    }

    /// A node that has joined, with an access token.
    pub async fn node(&self, tenant: &str, name: &str) -> Node {
        self.node_in(tenant, name, "").await
    }

    async fn node_in(&self, tenant: &str, name: &str, domain: &str) -> Node {
        let key = Key::new();
        let token = self.join_token(tenant, 1).await;
        let ask = v1::JoinRequest { domain: domain.to_owned(), ..key.asks(&token, name) };
        let joined = self.auth().join(ask).await.unwrap().into_inner();
        let node = Node::new(joined.node, tenant, key, self.sync());
        let assertion = node.sign(&node.claims());
        let answer =
            self.auth().exchange_assertion(v1::ExchangeAssertionRequest { assertion }).await.unwrap();
        node.with(answer.into_inner().access_token)
    }

    async fn head(&self, tenant: &str) -> v1::TenantView {
        let request = self.by_operator(v1::ListTenantsRequest { page_size: 100, page_token: String::new() });
        let listed = self.admin().list_tenants(request).await.unwrap().into_inner().tenants;
        listed.into_iter().find(|listed| listed.tenant == tenant).unwrap()
    }

    async fn set_primary(&self, kind: &str, node: &str) {
        let request = v1::SetTopologyRequest {
            tenant: TENANT.to_owned(),
            shape: "primary_replica".to_owned(),
            kinds: vec![kind.to_owned()],
            primary: node.to_owned(),
            ..Default::default()
        };
        self.admin().set_topology(self.by_operator(request)).await.unwrap();
    }

    pub async fn set_view(&self, node: &str, domain: &str) {
        let cells = vec![v1::Selector { domain: domain.to_owned(), kind: None, facet: None }];
        let view = Some(v1::View { cells });
        let request = v1::SetViewRequest { tenant: TENANT.to_owned(), node: node.to_owned(), view };
        self.admin().set_view(self.by_operator(request)).await.unwrap();
    }
}

impl World {
    pub async fn new() -> Self {
        let (hub, other_hub) = (Hub::new().await, Hub::new().await);
        let honest = hub.node(TENANT, "honest").await;
        let declarations = [
            r#"{"name":"lamp","policy":"fields","schema":{"properties":{"watts":{"type":"integer"}}}}"#,
            r#"{"name":"letter","policy":"last_writer"}"#,
            r#"{"name":"ledger","policy":"last_writer"}"#,
            r#"{"name":"sealed-letter","policy":"last_writer","signed":true}"#,
        ];
        for declaration in declarations {
            let declaration = declaration.as_bytes().to_vec();
            let request = v1::ApplyKindRequest { tenant: TENANT.to_owned(), declaration };
            hub.admin().apply_kind(hub.by_operator(request)).await.unwrap();
        }
        hub.set_primary("ledger", "honest").await;
        honest.greet().await;
        honest.push_one(honest.note("x")).await.unwrap();
        honest.push_one(honest.put("entity", "e", br#"{"name":"Ada"}"#)).await.unwrap();
        let mallory = hub.node(TENANT, "mallory").await;
        mallory.greet().await;
        let talker = hub.node(TENANT, "talker").await;
        talker.greet().await;
        let stranger = hub.node(OTHER_TENANT, "stranger").await;
        stranger.greet().await;
        let revoked = hub.node(TENANT, "revoked").await;
        revoked.greet().await;
        let request = v1::RevokeNodeRequest { tenant: TENANT.to_owned(), node: "revoked".to_owned() };
        hub.admin().revoke_node(hub.by_operator(request)).await.unwrap();
        let narrow = hub.node(TENANT, "narrow").await;
        narrow.greet().await;
        hub.set_view("narrow", "elsewhere").await;
        let owner = hub.node_in(TENANT, "owner", "owned").await;
        owner.greet().await;
        for n in 0..6 {
            let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(240 * 1024));
            owner.push_one(owner.put("note", &format!("long-{n}"), body.as_bytes())).await.unwrap();
        }
        let before = Mutex::new(None);
        Self { hub, other_hub, honest, mallory, talker, stranger, revoked, narrow, owner, before }
    }

    /// What is there, as the store and an honest reader see it.
    pub async fn state(&self) -> State {
        let request = v1::GetViewDigestRequest { tenant: TENANT.to_owned(), node: "honest".to_owned() };
        let request = self.hub.by_operator(request);
        let digest = self.hub.admin().get_view_digest(request).await.unwrap().into_inner();
        let request =
            v1::ListNodesRequest { tenant: TENANT.to_owned(), page_size: 1_000, ..Default::default() };
        let nodes = self.hub.admin().list_nodes(self.hub.by_operator(request)).await.unwrap().into_inner();
        State {
            head: self.hub.head(TENANT).await,
            records: (digest.revision, digest.digest),
            other: self.hub.head(OTHER_TENANT).await,
            nodes: nodes.nodes.len(),
        }
    }

    /// Says that what was done so far belongs to the scene, and what follows to the attack.
    pub async fn settle(&self) {
        let state = self.state().await;
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    /// The state before the attack.
    pub fn before(&self) -> State {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap()
    }

    /// Whether the hub answers an honest caller at once.
    pub async fn serves(&self) -> bool {
        let pull = v1::PullRequest { from: Some(v1::pull_request::From::Start(v1::Start {})) };
        let mut sync = self.hub.sync();
        let answer = tokio::time::timeout(SOON, sync.pull(self.honest.by(pull))).await;
        matches!(answer, Ok(Ok(_)))
    }
}

pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub fn now_s() -> u64 {
    SystemClock.now_ms() / 1_000
}

pub fn unique() -> String {
    hex::encode(SystemEntropy.bytes16())
}
