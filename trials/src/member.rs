//! A node on the wire, without a replica: it joins, holds its access tokens and opens sessions.
#![allow(clippy::panic, clippy::expect_used, reason = "harness of tests: a panic is how a test fails")]

use std::sync::Arc;

use gateway::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::ids::{Digest, NodeId, TenantId};
use semantics::reason::Refusal;
use spoke::transport::{channel, join};
use spoke::trust::{AccessTokens, JoinToken, NodeKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Streaming};

/// Messages that wait to be sent in a session.
const WAITING_MAX: usize = 16;

/// Both ends of a session.
pub type Talk = (mpsc::Sender<v1::SessionRequest>, Streaming<v1::SessionResponse>);

/// A node.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    url: String,
    pin: Option<Digest>,
    channel: Channel,
    compression: Option<CompressionEncoding>,
    tokens: Arc<AccessTokens>,
}

/// What travels in a session, from the spoke.
#[must_use]
pub fn message(message: Say) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(message) }
}

impl Member {
    /// Joins under a name of its own, with a key of its own in this file, on a connection of its own.
    ///
    /// # Panics
    /// When it is not taken in.
    pub async fn join(url: &str, token: &JoinToken, name: String, key: &str) -> Self {
        Self::join_as("agent", url, token, name, key).await
    }

    /// As [`Member::join`], as a node of another type.
    ///
    /// # Panics
    /// When it is not taken in.
    pub async fn join_as(node_type: &str, url: &str, token: &JoinToken, name: String, key: &str) -> Self {
        let entropy = SystemEntropy;
        let seed = [entropy.bytes16(), entropy.bytes16()].concat().try_into().expect("two halves");
        let key = NodeKey::create(key.as_ref(), seed).unwrap_or_else(|e| panic!("{e}"));
        let request = v1::JoinRequest {
            token: token.text.clone(),
            name,
            node_type: node_type.to_owned(),
            domain: String::new(),
            capabilities: Vec::new(),
            public_key: key.public_key().to_vec(),
            proof: key.prove_join(&token.text),
        };
        let joined = join(url, token.pin, request).await.unwrap_or_else(|e| panic!("{e}"));
        let id = NodeId::from_slice(&joined.node).unwrap_or_else(|e| panic!("{e}"));
        let tenant = TenantId::new(joined.tenant).unwrap_or_else(|e| panic!("{e}"));
        let tokens = Arc::new(AccessTokens::new(Arc::new(key), tenant, id));
        let channel = channel(url, token.pin).await.unwrap_or_else(|e| panic!("{e}"));
        Self { id, url: url.to_owned(), pin: token.pin, channel, compression: None, tokens }
    }

    /// The same node on another connection.
    #[must_use]
    pub fn over(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// The same node, whose messages to its hub and from there are compressed so, or not at all.
    #[must_use]
    pub fn compressed(&self, compression: Option<CompressionEncoding>) -> Self {
        Self { compression, ..self.clone() }
    }

    /// A fresh connection.
    ///
    /// # Errors
    /// What [`channel`] says.
    pub async fn connect(&self) -> Result<Channel, Refusal> {
        channel(&self.url, self.pin).await
    }

    /// A client of its hub.
    #[must_use]
    pub fn sync(&self) -> SyncServiceClient<Channel> {
        let client = SyncServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        match self.compression {
            Some(encoding) => client.send_compressed(encoding).accept_compressed(encoding),
            None => client,
        }
    }

    /// The value of `authorization`; `None` when the hub gives no token.
    pub async fn bearer(&self) -> Option<MetadataValue<Ascii>> {
        let (jti, now_ms) = (SystemEntropy.bytes16(), SystemClock.now_ms());
        self.tokens.bearer(self.channel.clone(), jti, now_ms).await.ok()?.parse().ok()
    }

    /// A session that begins with this hello, `None` when the hub does not take it.
    pub async fn talk(&self, hello: v1::Hello) -> Option<Talk> {
        let bearer = self.bearer().await?;
        let (say, said) = mpsc::channel(WAITING_MAX);
        say.send(message(Say::Hello(hello))).await.ok()?;
        let mut request = Request::new(ReceiverStream::new(said));
        request.metadata_mut().insert("authorization", bearer);
        Some((say, self.sync().session(request).await.ok()?.into_inner()))
    }
}
