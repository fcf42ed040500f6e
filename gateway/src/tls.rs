//! Connections: TLS 1.3 with a certificate of the hub's own authority, or clear text on loopback while developing.
//!
//! The listener's own acceptor is used because a server that accepts and then shakes hands, one at a time, lets one
//! slow client hold up all others.

use std::sync::Arc;

use rustls::ServerConfig;
use semantics::reason::Reason;

use crate::hub::error::HubError;

pub mod client;
pub mod connection;
pub mod identity;
pub mod incoming;
pub mod room;

pub use self::connection::{Call, Calls, Connection, Peer};
pub use self::identity::Identity;
pub use self::incoming::Incoming;
pub use self::room::{Bounds, Closed, Room};

/// Which protocols are spoken over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2, which gRPC needs.
    H2,
    /// And HTTP/1.1, for probes and metrics.
    H2AndHttp1,
}

/// A TLS 1.3 server. Key exchange prefers X25519MLKEM768, which also holds against a recording that is decrypted
/// by a later quantum computer.
///
/// # Errors
/// INTERNAL when the cryptography in use has no TLS 1.3.
pub fn server_config(identity: Arc<Identity>, alpn: Alpn) -> Result<ServerConfig, HubError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| HubError::new(Reason::Internal, format!("TLS: {e}")))?
        .with_no_client_auth()
        .with_cert_resolver(identity);
    config.alpn_protocols = match alpn {
        Alpn::H2 => vec![b"h2".to_vec()],
        Alpn::H2AndHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}
