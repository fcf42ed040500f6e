//! Trust: the node's key, the pinned hub, access tokens.

pub mod access;
pub mod connector;
pub mod join_token;
pub mod meter;
pub mod node_key;
pub mod pin;

pub use self::access::AccessTokens;
pub use self::connector::PinnedConnector;
pub use self::join_token::JoinToken;
pub use self::meter::Meter;
pub use self::node_key::NodeKey;
pub use self::pin::refusal_of;
