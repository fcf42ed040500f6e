//! A node on the wire, without a replica: it joins, holds its access tokens and opens sessions.
#![allow(clippy::panic, clippy::expect_used, reason = "harness of tests: a panic is how a test fails")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use http::Uri;
use hyper_util::rt::TokioIo;
use proto::reason::refusal_of;
use proto::v1;
use proto::v1::session_request::Message as Say;
use proto::v1::sync_service_client::SyncServiceClient;
use semantics::ids::{Digest, NodeId, TenantId};
use semantics::reason::Refusal;
use spoke::transport::{channel, endpoint, join};
use spoke::trust::{AccessTokens, JoinToken, NodeKey, PinnedConnector};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::process::WAIT_MAX;

/// Messages that wait to be sent in a session.
const WAITING_MAX: usize = 16;

/// What is not taken is asked for again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

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

/// Asks again as long as the hub says that it has no room now.
async fn taken<T, F: Future<Output = Result<T, Refusal>>>(ask: impl Fn() -> F) -> Result<T, Refusal> {
    let all = async {
        loop {
            match ask().await {
                Err(refusal) if refusal.reason.is_transient() => tokio::time::sleep(AGAIN_AFTER).await,
                other => return other,
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, all).await.expect("the hub has room in time")
}

/// A connection that is made with the first call on it.
fn lazy(url: &str, pin: Option<Digest>) -> Channel {
    let connector = PinnedConnector::new(pin).unwrap_or_else(|e| panic!("{e}"));
    endpoint(url).unwrap_or_else(|e| panic!("{e}")).connect_with_connector_lazy(connector)
}

impl Member {
    /// Joins under a name of its own, with a key of its own in this file, on a connection of its own. The connection of
    /// its calls is made with the first of them: the hub closes one on which nothing is called.
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
        // Many who join with one token at once are told to come again.
        let joined = taken(|| join(url, token.pin, request.clone())).await;
        let joined = joined.unwrap_or_else(|e| panic!("{e}"));
        let id = NodeId::from_slice(&joined.node).unwrap_or_else(|e| panic!("{e}"));
        let tenant = TenantId::new(joined.tenant).unwrap_or_else(|e| panic!("{e}"));
        let tokens = Arc::new(AccessTokens::new(Arc::new(key), tenant, id));
        let channel = lazy(url, token.pin);
        Self { id, url: url.to_owned(), pin: token.pin, channel, compression: None, tokens }
    }

    /// The same node on another connection.
    #[must_use]
    pub fn over(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// The same node on a new connection, which is made with its first call.
    ///
    /// # Panics
    /// When its URL is none.
    #[must_use]
    pub fn anew(&self) -> Self {
        self.over(lazy(&self.url, self.pin))
    }

    /// The same node, in clear text and from this address: of one address the hub takes so many connections only.
    ///
    /// # Panics
    /// When its URL is none.
    #[must_use]
    pub fn from_address(&self, source: Ipv4Addr) -> Self {
        let endpoint = endpoint(&self.url).unwrap_or_else(|e| panic!("{e}"));
        let connect = move |uri: Uri| async move {
            let to = uri.authority().and_then(|to| to.as_str().parse().ok());
            let to = to.ok_or_else(|| io::Error::other("no address and port"))?;
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((source, 0)))?;
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        };
        self.over(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
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

    /// The value of `authorization`.
    ///
    /// # Errors
    /// Why the hub gives no token.
    pub async fn bearer(&self) -> Result<MetadataValue<Ascii>, Refusal> {
        let (jti, now_ms) = (SystemEntropy.bytes16(), SystemClock.now_ms());
        let bearer = self.tokens.bearer(self.channel.clone(), jti, now_ms).await?;
        Ok(bearer.parse().expect("a token is plain text"))
    }

    /// A session that begins with this hello.
    ///
    /// # Errors
    /// Why the hub does not take it.
    pub async fn talk(&self, hello: v1::Hello) -> Result<Talk, Refusal> {
        let bearer = self.bearer().await?;
        let (say, said) = mpsc::channel(WAITING_MAX);
        say.send(message(Say::Hello(hello))).await.expect("there is room");
        let mut request = Request::new(ReceiverStream::new(said));
        request.metadata_mut().insert("authorization", bearer);
        let heard = self.sync().session(request).await;
        Ok((say, heard.map_err(|status| refusal_of(&status))?.into_inner()))
    }

    /// As [`Member::talk`], asked for again as long as the hub says that it has no room now.
    ///
    /// # Panics
    /// When it is refused otherwise, or not taken in time.
    pub async fn talk_again(&self, hello: v1::Hello) -> Talk {
        let talk = taken(|| self.talk(hello.clone())).await;
        talk.unwrap_or_else(|e| panic!("a session: {e}"))
    }
}
