//! A running hub in this process, and nodes that talk to it.

use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use gateway::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use gateway::auth::JOIN_CONTEXT;
use gateway::config::Given;
use gateway::serve::{self, Opened, Running};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::auth_service_client::AuthServiceClient;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::reason::Reason;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Longest wait for anything that should come at once.
pub const SOON: Duration = Duration::from_secs(5);

/// What a caller takes in before it reads, bytes.
const WINDOW_BYTES: u32 = 16 * 1024;

pub struct World {
    pub running: Running,
    pub folder: PathBuf,
    pub spokes: Channel,
    pub operators: Channel,
    operator: String,
}

pub struct Node {
    pub id: Vec<u8>,
    pub token: String,
    channel: Channel,
}

/// One session from the spoke's side.
pub struct Talk {
    pub say: mpsc::Sender<v1::SessionRequest>,
    pub hear: Streaming<v1::SessionResponse>,
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// A connection of its own.
pub async fn channel(address: std::net::SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    // A small window, so that who does not read is soon felt.
    endpoint.initial_stream_window_size(WINDOW_BYTES).connect().await.unwrap()
}

impl World {
    pub async fn new() -> Self {
        Self::with(Given::default()).await
    }

    /// A hub with more settings.
    pub async fn with(more: Given) -> Self {
        Self::start(more, |opened| opened).await
    }

    /// A hub that cuts a session whose messages nobody reads after another time, milliseconds.
    pub async fn cutting_unread_after(unread_ms_max: u64) -> Self {
        Self::start(Given::default(), |opened| opened.cutting_unread_after(unread_ms_max)).await
    }

    async fn start(more: Given, with: impl FnOnce(Opened) -> Opened) -> Self {
        let folder =
            std::env::temp_dir().join(format!("hubward-rpc-{}", hex::encode(SystemEntropy.bytes16())));
        let zero = || Some("127.0.0.1:0".to_owned());
        let given = Given {
            dev: true,
            database_url: Some("memory:".to_owned()),
            listen: zero(),
            operator_listen: zero(),
            data: Some(folder.clone()),
            ..more
        };
        let config = given.check().unwrap();
        let opened = with(serve::open(&config).await.unwrap());
        let running = serve::start(&config, opened).await.unwrap();
        let operator = std::fs::read_to_string(folder.join("operator.token")).unwrap().trim().to_owned();
        let (spokes, operators) =
            (channel(running.at.listen).await, channel(running.at.operator_listen).await);
        let world = Self { running, folder, spokes, operators, operator };
        world.admin().create_tenant(world.by_operator(tenant("acme"))).await.unwrap();
        world
    }

    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.operators.clone())
    }

    pub fn by_operator<T>(&self, message: T) -> Request<T> {
        with_token(message, &self.operator)
    }

    pub async fn node(&self, name: &str) -> Node {
        let request = v1::CreateTokenRequest { tenant: "acme".to_owned(), uses: None, ttl_s: None };
        let token = self.admin().create_token(self.by_operator(request)).await.unwrap().into_inner().token;
        let key = SigningKey::from_bytes(&[SystemEntropy.bytes16(); 2].concat().try_into().unwrap());
        let proof = key.sign(&[JOIN_CONTEXT, token.as_bytes()].concat());
        let mut auth = AuthServiceClient::new(self.spokes.clone());
        let request = v1::JoinRequest {
            token,
            name: name.to_owned(),
            node_type: "agent".to_owned(),
            domain: String::new(),
            capabilities: Vec::new(),
            public_key: key.verifying_key().to_bytes().to_vec(),
            proof: proof.to_bytes().to_vec(),
        };
        let id = auth.join(request).await.unwrap().into_inner().node;
        let now_s = SystemClock.now_ms() / 1_000;
        let subject = hex::encode(&id);
        let claims = json!({
            "iss": subject, "sub": subject, "aud": "hubward/acme", "iat": now_s, "exp": now_s + 60,
            "jti": hex::encode(SystemEntropy.bytes16()),
        });
        let der = key.to_pkcs8_der().unwrap();
        let signed = EncodingKey::from_ed_der(der.as_bytes());
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &signed).unwrap();
        let answer = auth.exchange_assertion(v1::ExchangeAssertionRequest { assertion }).await.unwrap();
        Node { id, token: answer.into_inner().access_token, channel: self.spokes.clone() }
    }
}

impl Node {
    pub fn sync(&self) -> SyncServiceClient<Channel> {
        SyncServiceClient::new(self.channel.clone())
    }

    pub fn by<T>(&self, message: T) -> Request<T> {
        with_token(message, &self.token)
    }

    pub fn writer(&self) -> v1::Writer {
        v1::Writer { node: self.id.clone(), epoch: 1 }
    }

    /// Opens a session with this as the first message.
    pub async fn open(&self, first: v1::session_request::Message) -> Result<Talk, Status> {
        let (say, said) = mpsc::channel(16);
        say.send(message(first)).await.unwrap();
        let hear = self.sync().session(self.by(ReceiverStream::new(said))).await?.into_inner();
        Ok(Talk { say, hear })
    }

    /// Opens a session, is welcomed, and hears the first cut.
    pub async fn talk(&self) -> Talk {
        let mut talk = self.open(v1::session_request::Message::Hello(hello())).await.unwrap();
        assert!(matches!(talk.next().await, v1::session_response::Message::Welcome(_)));
        talk.cut().await;
        talk
    }

    /// A note that did not exist.
    pub fn note(&self, n: u64, id: &str) -> v1::Mutation {
        let ms = SystemClock.now_ms();
        v1::Mutation {
            id: SystemEntropy.bytes16().to_vec(),
            dot: Some(v1::Dot { writer: Some(self.writer()), n }),
            key: Some(v1::Key { kind: "note".to_owned(), id: id.to_owned() }),
            op: Some(v1::mutation::Op::Put(v1::Put { body: br#"{"text":"hi"}"#.to_vec() })),
            base: Some(v1::Base { version: Some(v1::Version::default()), ..v1::Base::default() }),
            time: Some(v1::HybridTime { ms, counter: 0 }),
            written_ms: ms,
            author: self.id.clone(),
            salt: SystemEntropy.bytes16().to_vec(),
            ..v1::Mutation::default()
        }
    }

    pub fn push(&self, mutations: Vec<v1::Mutation>) -> v1::PushRequest {
        let item = |mutation: v1::Mutation| v1::PushItem {
            item: Some(v1::push_item::Item::Mutation(mutation.into())),
        };
        let items = mutations.into_iter().map(item).collect();
        v1::PushRequest { writer: Some(self.writer()), confirmed_n: 0, items }
    }
}

impl Talk {
    pub async fn say(&self, first: v1::session_request::Message) {
        self.say.send(message(first)).await.unwrap();
    }

    pub async fn next(&mut self) -> v1::session_response::Message {
        let heard = tokio::time::timeout(SOON, self.hear.message()).await.expect("nothing came");
        heard.unwrap().expect("the session ended").message.unwrap()
    }

    /// Waits for a cut and gives its cursor and what came before it.
    pub async fn cut(&mut self) -> (v1::Cursor, Vec<v1::Change>) {
        let mut all = Vec::new();
        loop {
            let v1::session_response::Message::Changes(changes) = self.next().await else { continue };
            let batch: v1::ChangeBatch = prost::Message::decode(changes.batch).unwrap();
            all.extend(batch.changes);
            if let Some(v1::changes::Next::Cut(cut)) = changes.next {
                return (cut.cursor.unwrap(), all);
            }
        }
    }

    /// Waits for the goodbye and for the end after it.
    pub async fn goodbye(&mut self) -> Reason {
        loop {
            if let v1::session_response::Message::Goodbye(goodbye) = self.next().await {
                assert!(self.hear.message().await.unwrap().is_none(), "nothing comes after a goodbye");
                let number = u16::try_from(goodbye.refusal.unwrap().reason).unwrap();
                return Reason::from_number(number).unwrap();
            }
        }
    }
}

pub fn hello() -> v1::Hello {
    v1::Hello {
        protocol: 1,
        stream: None,
        cursor: None,
        resume: None,
        credit_bytes: 1 << 20,
        about: None,
        lineage: Vec::new(),
    }
}

pub fn tenant(name: &str) -> v1::CreateTenantRequest {
    v1::CreateTenantRequest { tenant: name.to_owned() }
}

pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub fn reason<T>(answer: Result<T, Status>) -> Reason {
    match answer {
        Ok(_) => panic!("it was taken"),
        Err(status) => proto::reason::refusal_of(&status).reason,
    }
}

fn message(message: v1::session_request::Message) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(message) }
}
