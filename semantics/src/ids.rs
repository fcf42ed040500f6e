//! Identifiers. No API of this workspace takes a bare integer or byte array where one of these is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Longest kind, tenant and domain name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest record id and subject, in bytes of UTF-8.
pub const RECORD_ID_BYTES_MAX: usize = 256;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty where at least one byte is needed.
    #[error("{what} is empty")]
    Empty {
        /// Which identifier.
        what: &'static str,
    },
    /// The text is longer than its bound.
    #[error("{what} has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// Which identifier.
        what: &'static str,
        /// Length found, bytes.
        bytes: usize,
        /// Length allowed, bytes.
        bytes_max: usize,
    },
    /// A control character, or a character outside the identifier's alphabet.
    #[error("{what} has the character {found:?} at byte {at}, which is not allowed there: {allowed}")]
    Character {
        /// Which identifier.
        what: &'static str,
        /// The character.
        found: char,
        /// Byte offset.
        at: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Hexadecimal text of the wrong length or alphabet.
    #[error("{what} must be {digits} hexadecimal digits")]
    NotHex {
        /// Which identifier.
        what: &'static str,
        /// Digits expected.
        digits: usize,
    },
}

// Names are cloned with everything that has one: a short one lies in place, of a long one there is one that is counted.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $ok:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks the bounds and the alphabet.
            ///
            /// # Errors
            /// [`IdError`] says which rule the text breaks.
            pub fn new(text: impl Into<SmolStr>) -> Result<Self, IdError> {
                let text = text.into();
                if text.is_empty() {
                    return Err(IdError::Empty { what: $what });
                }
                if text.len() > $max {
                    return Err(IdError::TooLong { what: $what, bytes: text.len(), bytes_max: $max });
                }
                let ok: fn(char) -> bool = $ok;
                match text.char_indices().find(|(_, c)| !ok(*c)) {
                    Some((at, found)) => Err(IdError::Character { what: $what, found, at, allowed: $allowed }),
                    None => Ok(Self(text)),
                }
            }
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

/// What [`is_name_char`] takes, for a person.
const NAME_CHARS: &str = "lower-case letters a to z, digits, '_', '-' and '.' are";

fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.')
}

name_type!(
    /// A tenant: the unit of isolation and of ordering. Lower-case ASCII letters, digits, `_`, `-`, `.`.
    TenantId, "tenant", NAME_BYTES_MAX, is_name_char, NAME_CHARS
);
name_type!(
    /// A domain: the label on nodes and records that sharing speaks about. Same alphabet as a tenant.
    Domain, "domain", NAME_BYTES_MAX, is_name_char, NAME_CHARS
);
name_type!(
    /// A kind's name: any UTF-8 but control characters; compared as bytes.
    Kind, "kind", NAME_BYTES_MAX, |c| !c.is_control(), "all but control characters are"
);
name_type!(
    /// A record's id inside its kind: any UTF-8 (control characters and U+0000 included); compared as bytes.
    RecordId, "record id", RECORD_ID_BYTES_MAX, |_| true, "all are"
);
name_type!(
    /// The value of a kind's facet field: any UTF-8; compared as bytes.
    Facet, "facet", RECORD_ID_BYTES_MAX, |_| true, "all are"
);
name_type!(
    /// Whom a record's data is about, so that it can be erased. Any UTF-8; compared as bytes.
    Subject, "subject", RECORD_ID_BYTES_MAX, |_| true, "all are"
);

impl From<Digest> for RecordId {
    /// The digest in hexadecimal.
    fn from(digest: Digest) -> Self {
        Self(digest.to_string().into())
    }
}

impl Domain {
    /// The domain of a node that names none.
    #[must_use]
    pub fn default_domain() -> Self {
        Self(SmolStr::new_static("default"))
    }
}

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
            /// From a slice of exactly the right length.
            ///
            /// # Errors
            /// [`IdError::NotHex`] when the length differs.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                <[u8; $len]>::try_from(bytes)
                    .map(Self)
                    .map_err(|_| IdError::NotHex { what: $what, digits: $len * 2 })
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = hex::decode(text).map_err(|_| IdError::NotHex { what: $what, digits: $len * 2 })?;
                Self::from_slice(&bytes)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

bytes_type!(
    /// A registered participant. Given by the hub at registration. All zero is the hub itself.
    NodeId, "node id", 16
);
bytes_type!(
    /// Given when a mutation is *written*; it never changes.
    MutationId, "mutation id", 16
);
bytes_type!(
    /// Names mutations that commit and are delivered together.
    GroupId, "group id", 16
);
bytes_type!(
    /// One incarnation of a tenant's log. A restore from backup mints a new one.
    LogId, "log id", 16
);
bytes_type!(
    /// Random bytes hashed with a body, so that a digest of a short body does not give the body away.
    Salt, "salt", 16
);
bytes_type!(
    /// A SHA-256 digest (FIPS 180-4).
    Digest, "digest", 32
);

impl NodeId {
    /// The hub as a writer (of conflict records and control records).
    pub const HUB: Self = Self([0; 16]);
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_type!(
    /// Position of a change in a tenant's log: dense, from 1. Zero is "before the first".
    Revision
);
number_type!(
    /// Number of a commit in a tenant's log: dense, from 1. Zero is "before the first".
    CommitNumber
);
number_type!(
    /// How often a record has been created again on its own tombstone: 0, then one more each time.
    Incarnation
);

/// A node's counter owner: one replica of one node. The hub issues epochs, from 1; 0 is the hub's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Writer {
    /// The node.
    pub node: NodeId,
    /// Which of the node's replicas.
    pub epoch: u32,
}

impl Writer {
    /// The hub as a writer.
    pub const HUB: Self = Self { node: NodeId::HUB, epoch: 0 };
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.epoch)
    }
}

/// One mutation of one writer, given at first send: n is dense from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Whose counter.
    pub writer: Writer,
    /// Its value.
    pub n: u64,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.writer, self.n)
    }
}

/// A record's name inside its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Kind of record.
    pub kind: Kind,
    /// Id inside the kind.
    pub id: RecordId,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}
