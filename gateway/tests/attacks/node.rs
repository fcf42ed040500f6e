//! A node as an attacker has it: every field of what it sends can be bent.

use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use gateway::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use gateway::auth::JOIN_CONTEXT;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::session_response::Message as Hear;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::reason::Reason;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::table::{Heard, answered};
use super::world::{SOON, now_s, unique, with_token};

/// A node's key.
pub struct Key(pub SigningKey);

impl Key {
    pub fn new() -> Self {
        Self(SigningKey::from_bytes(&[SystemEntropy.bytes16(); 2].concat().try_into().unwrap()))
    }

    pub fn asks(&self, token: &str, name: &str) -> v1::JoinRequest {
        let proof = self.0.sign(&[JOIN_CONTEXT, token.as_bytes()].concat());
        v1::JoinRequest {
            token: token.to_owned(),
            name: name.to_owned(),
            node_type: "agent".to_owned(),
            domain: String::new(),
            capabilities: Vec::new(),
            public_key: self.0.verifying_key().to_bytes().to_vec(),
            proof: proof.to_bytes().to_vec(),
        }
    }
}

/// A JWT with this header and these claims.
pub fn jwt(header: &Header, claims: &Value, key: &SigningKey) -> String {
    let der = key.to_pkcs8_der().unwrap();
    jsonwebtoken::encode(header, claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap()
}

pub struct Node {
    pub id: Vec<u8>,
    pub tenant: String,
    pub key: Key,
    pub token: String,
    sync: SyncServiceClient<Channel>,
    last_n: AtomicU64,
}

/// One session from the spoke's side.
pub struct Talk {
    pub say: mpsc::Sender<v1::SessionRequest>,
    pub hear: Streaming<v1::SessionResponse>,
}

impl Node {
    pub fn new(id: Vec<u8>, tenant: &str, key: Key, sync: SyncServiceClient<Channel>) -> Self {
        let (tenant, last_n) = (tenant.to_owned(), AtomicU64::new(0));
        Self { id, tenant, key, token: String::new(), sync, last_n }
    }

    pub fn with(self, token: String) -> Self {
        Self { token, ..self }
    }

    pub fn sync(&self) -> SyncServiceClient<Channel> {
        self.sync.clone()
    }

    pub fn by<T>(&self, message: T) -> Request<T> {
        with_token(message, &self.token)
    }

    /// The claims of a good assertion.
    pub fn claims(&self) -> Value {
        let (subject, now_s) = (hex::encode(&self.id), now_s());
        let audience = format!("hubward/{}", self.tenant);
        json!({"iss": subject, "sub": subject, "aud": audience, "iat": now_s, "exp": now_s + 60, "jti": unique()})
    }

    pub fn sign(&self, claims: &Value) -> String {
        jwt(&Header::new(Algorithm::EdDSA), claims, &self.key.0)
    }

    pub fn writer(&self) -> v1::Writer {
        v1::Writer { node: self.id.clone(), epoch: 1 }
    }

    /// The counter that its next mutation has to bear.
    pub fn next_n(&self) -> u64 {
        self.last_n.load(Ordering::Relaxed) + 1
    }

    pub fn put(&self, kind: &str, id: &str, body: &[u8]) -> v1::Mutation {
        let ms = SystemClock.now_ms();
        v1::Mutation {
            id: SystemEntropy.bytes16().to_vec(),
            dot: Some(v1::Dot { writer: Some(self.writer()), n: self.next_n() }),
            key: Some(v1::Key { kind: kind.to_owned(), id: id.to_owned() }),
            op: Some(v1::mutation::Op::Put(v1::Put { body: body.to_vec() })),
            base: Some(v1::Base { version: Some(v1::Version::default()), ..v1::Base::default() }),
            time: Some(v1::HybridTime { ms, counter: 0 }),
            written_ms: ms,
            author: self.id.clone(),
            salt: SystemEntropy.bytes16().to_vec(),
            ..v1::Mutation::default()
        }
    }

    pub fn note(&self, id: &str) -> v1::Mutation {
        self.put("note", id, br#"{"text":"hi"}"#)
    }

    /// Notes with the counters that follow.
    pub fn notes(&self, count: u64) -> Vec<v1::Mutation> {
        let numbered = |n: u64| {
            let mut note = self.note(&format!("many-{n}"));
            note.dot.as_mut().unwrap().n += n;
            note
        };
        (0..count).map(numbered).collect()
    }

    pub fn push(&self, mutations: Vec<v1::Mutation>) -> v1::PushRequest {
        let item = |mutation: v1::Mutation| v1::PushItem {
            item: Some(v1::push_item::Item::Mutation(mutation.into())),
        };
        let items = mutations.into_iter().map(item).collect();
        v1::PushRequest { writer: Some(self.writer()), confirmed_n: 0, items }
    }

    pub async fn send(&self, push: v1::PushRequest) -> Result<Response<v1::PushResponse>, Status> {
        let answer = self.sync().push(self.by(push)).await;
        if let Ok(answer) = &answer {
            let last = answer.get_ref().outcomes.last().map_or(0, |result| result.n);
            self.last_n.fetch_max(last, Ordering::Relaxed);
        }
        answer
    }

    pub async fn push_one(&self, mutation: v1::Mutation) -> Result<Response<v1::PushResponse>, Status> {
        self.send(self.push(vec![mutation])).await
    }

    /// Pushes one mutation, and what is heard of it.
    pub async fn tries(&self, mutation: v1::Mutation) -> Heard {
        answered(self.push_one(mutation).await)
    }

    /// Opens a session with this as the first message.
    pub async fn open(&self, first: Say) -> Result<Talk, Status> {
        let (say, said) = mpsc::channel(16);
        say.send(message(first)).await.unwrap();
        let hear = self.sync().session(self.by(ReceiverStream::new(said))).await?.into_inner();
        Ok(Talk { say, hear })
    }

    /// Opens a session and closes it: the writer exists now.
    pub async fn greet(&self) {
        self.talk().await;
    }

    /// Opens a session, is welcomed, and hears the first cut.
    pub async fn talk(&self) -> Talk {
        let mut talk = self.open(Say::Hello(hello())).await.unwrap();
        assert!(matches!(talk.next().await, Some(Hear::Welcome(_))));
        talk.cut().await;
        talk
    }

    /// What is heard of a hello.
    pub async fn hello(&self, hello: v1::Hello) -> Heard {
        match self.open(Say::Hello(hello)).await {
            Ok(_) => Heard::Taken,
            Err(status) => Heard::Refused(proto::reason::refusal_of(&status).reason),
        }
    }

    /// What is heard when this is said in a session that stands.
    pub async fn says(&self, said: Say) -> Heard {
        let mut talk = self.talk().await;
        talk.say.send(message(said)).await.unwrap();
        loop {
            match talk.next().await {
                Some(Hear::Goodbye(goodbye)) => {
                    let number = u16::try_from(goodbye.refusal.unwrap().reason).unwrap();
                    return Heard::Goodbye(Reason::from_number(number).unwrap());
                }
                Some(_) => {}
                None => return Heard::Taken,
            }
        }
    }
}

impl Talk {
    pub async fn next(&mut self) -> Option<Hear> {
        let heard = tokio::time::timeout(SOON, self.hear.message()).await.expect("nothing came");
        heard.unwrap().map(|heard| heard.message.unwrap())
    }

    /// The cursor of the next cut.
    pub async fn cut(&mut self) -> v1::Cursor {
        loop {
            let Some(Hear::Changes(changes)) = self.next().await else { panic!("no cut came") };
            if let Some(v1::changes::Next::Cut(cut)) = changes.next {
                return cut.cursor.unwrap();
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

pub fn message(message: Say) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(message) }
}
