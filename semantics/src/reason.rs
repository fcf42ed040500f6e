//! The closed list of reasons for which anything in Hubward is refused: each with its class, whether trying the
//! same again can help, and what to do.

use serde::{Deserialize, Serialize};

/// What kind of trouble a reason is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The other side could not be reached or did not answer.
    Network,
    /// Who is asking could not be established, or may not do this.
    Authentication,
    /// What was sent cannot be taken.
    Data,
    /// The hub, the replica or the machine below them is not in a state to do it.
    Platform,
}

impl Class {
    /// Upper-case name, as in logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "NETWORK",
            Self::Authentication => "AUTHENTICATION",
            Self::Data => "DATA",
            Self::Platform => "PLATFORM",
        }
    }
    /// Exit code of the commands for this class.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Data => 3,
            Self::Authentication => 4,
            Self::Network => 5,
            Self::Platform => 6,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $class:ident, $transient:literal, $remedy:literal;)*) => {
        /// Why something was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in number order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// Upper-case name, stable, at most 63 characters.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            /// Its number on the wire and in stores, stable.
            #[must_use]
            pub const fn number(self) -> u16 { match self { $(Self::$name => $number,)* } }
            /// Its class.
            #[must_use]
            pub const fn class(self) -> Class { match self { $(Self::$name => Class::$class,)* } }
            /// Whether the same request may succeed later without being changed.
            #[must_use]
            pub const fn is_transient(self) -> bool { match self { $(Self::$name => $transient,)* } }
            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str { match self { $(Self::$name => $remedy,)* } }
            /// By number.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.number() == number)
            }
        }
    };
}

reasons! {
    /// A message or field has the wrong shape.
    Malformed = 1, "MALFORMED", Data, false, "fix the field that the detail names";
    /// Something is larger than its bound.
    TooLarge = 2, "TOO_LARGE", Data, false, "split it or make it smaller; the limits stand in Welcome";
    /// A body is not canonical JSON (RFC 8785).
    NotCanonical = 3, "NOT_CANONICAL", Data, false, "send the body as RFC 8785 canonical JSON";
    /// A number in a body is an integer beyond 2^53 - 1.
    UnsafeNumber = 4, "UNSAFE_NUMBER", Data, false, "carry 64-bit integers as strings";
    /// A body does not satisfy its kind's schema.
    SchemaViolation = 5, "SCHEMA_VIOLATION", Data, false, "correct the value at the path that the detail names";
    /// No such kind is declared in this tenant.
    KindUndeclared = 6, "KIND_UNDECLARED", Data, false, "declare the kind with `hubward kind apply`, or correct its name";
    /// The kind can only be written by an administrator.
    ControlKind = 7, "CONTROL_KIND", Authentication, false, "change control records through the hub's admin commands";
    /// The record was deleted, and collected or created anew, after the base.
    RecordGone = 8, "RECORD_GONE", Data, false, "read the record again and, if it should live, put it anew";
    /// The mutation's time is not after its base's.
    StampBeforeBase = 9, "STAMP_BEFORE_BASE", Data, false, "tick the clock past every stamp of the base";
    /// The base holds a mutation that was rejected or withdrawn.
    DependsOn = 10, "DEPENDS_ON", Data, false, "settle the refused mutation first, then retry this one";
    /// Another mutation of the same group was rejected.
    GroupRejected = 11, "GROUP_REJECTED", Data, false, "settle the group's refused mutation, then retry the group";
    /// An append-only record cannot be changed.
    AppendOnly = 12, "APPEND_ONLY", Data, false, "write a new record instead";
    /// A patch on a kind whose body is whole.
    PatchUnsupported = 13, "PATCH_UNSUPPORTED", Data, false, "put the whole body";
    /// A version names too many writers.
    VersionTooWide = 14, "VERSION_TOO_WIDE", Data, false, "close nodes that are gone, so that versions can be pruned";
    /// The record moved since the base that the request names.
    Stale = 15, "STALE", Data, false, "read again and decide on what is there now";
    /// The record's cell is not in the node's view.
    NotInView = 16, "NOT_IN_VIEW", Authentication, false, "write in a domain the node may see, or have its view changed";
    /// A signature is missing or wrong.
    BadSignature = 17, "BAD_SIGNATURE", Authentication, false, "sign the mutation with the node's key";
    /// The stamp is too far ahead of the hub's time.
    ClockAhead = 18, "CLOCK_AHEAD", Data, true, "correct the clock; the spoke re-stamps what is unsent";
    /// A dot came before its predecessor.
    OutOfOrder = 19, "OUT_OF_ORDER", Data, true, "send from the dot that the detail names";
    /// The same writer counted on in two places.
    NodeForked = 20, "NODE_FORKED", Data, false, "this replica is a copy: it opens an epoch of its own";
    /// The hub's log is not the one the replica stood on.
    LogForked = 21, "LOG_FORKED", Data, false, "find out why the hub's log changed; then `spoke adopt-log`, or recover the hub";
    /// The cursor or resume position lies below the hub's horizon.
    CursorExpired = 22, "CURSOR_EXPIRED", Data, false, "start anew from an empty replica; the outbox is kept";
    /// Too much is waiting.
    Overloaded = 23, "OVERLOADED", Platform, true, "try again after the given time";
    /// A quota or rate is used up.
    QuotaExceeded = 24, "QUOTA_EXCEEDED", Platform, true, "try again after the given time, or have the quota raised";
    /// No or no valid proof of identity.
    Unauthenticated = 25, "UNAUTHENTICATED", Authentication, false, "present a valid token; join again if the node was revoked";
    /// Known, but not allowed.
    PermissionDenied = 26, "PERMISSION_DENIED", Authentication, false, "ask an administrator for the right";
    /// The node was revoked.
    NodeRevoked = 27, "NODE_REVOKED", Authentication, false, "join again with a new token";
    /// The join token is unknown, used up or expired.
    JoinTokenInvalid = 28, "JOIN_TOKEN_INVALID", Authentication, false, "create a new one with `hubward token create`";
    /// The hub's certificate is not signed by the pinned key.
    PinMismatch = 29, "PIN_MISMATCH", Authentication, false, "check that this is the right hub; join again if its CA was replaced";
    /// Nothing by that name, for this caller.
    NotFound = 30, "NOT_FOUND", Data, false, "check the name";
    /// Something by that name exists with other content.
    AlreadyExists = 31, "ALREADY_EXISTS", Data, false, "choose another name, or change the existing one";
    /// The two sides speak no common protocol version.
    ProtocolVersion = 32, "PROTOCOL_VERSION", Platform, false, "upgrade the older side";
    /// The hub is shutting down.
    Draining = 33, "DRAINING", Platform, true, "reconnect, to another gateway if there is one";
    /// The store did not answer.
    StoreUnavailable = 34, "STORE_UNAVAILABLE", Platform, true, "try again; check the database if it lasts";
    /// Stored data failed its check.
    StoreCorrupt = 35, "STORE_CORRUPT", Platform, false, "stop, keep the files, restore from a backup";
    /// The disk is full.
    StoreFull = 36, "STORE_FULL", Platform, true, "make room on the disk";
    /// The store's settings cannot keep an acknowledgement.
    StoreUnsafe = 37, "STORE_UNSAFE", Platform, false, "switch on the settings that the detail names";
    /// The other side could not be reached.
    Unreachable = 38, "UNREACHABLE", Network, true, "check the address and that the hub runs";
    /// The answer did not come in time.
    DeadlineExceeded = 39, "DEADLINE_EXCEEDED", Network, true, "try again";
    /// The replica is owned by another process.
    ReplicaLocked = 40, "REPLICA_LOCKED", Platform, true, "use the running daemon, or stop it first";
    /// The data folder holds no joined replica.
    NotJoined = 41, "NOT_JOINED", Platform, false, "run `spoke join` first";
    /// A bug.
    Internal = 42, "INTERNAL", Platform, false, "report it with the request id";
    /// Already answered, and the answer was confirmed.
    AlreadyConfirmed = 43, "ALREADY_CONFIRMED", Data, false, "nothing: the first answer stands";
    /// The record does not exist here.
    RecordAbsent = 44, "RECORD_ABSENT", Data, false, "put the record first";
    /// A resume position or page token that this hub did not give.
    BadToken = 45, "BAD_TOKEN", Data, false, "start the listing anew";
    /// A diagnosis has found something wrong.
    Unsound = 46, "UNSOUND", Data, false, "do what the report says of each problem";
    /// Fewer nodes see the record than were to be waited for.
    TooFewNodes = 47, "TOO_FEW_NODES", Data, false, "wait for fewer nodes, or let more nodes see the record";
    /// What is asked for has its place and is not there yet.
    NotOffered = 48, "NOT_OFFERED", Platform, false, "ask for what this version offers";
    /// Conflicts are open that the rule to come could not be read under.
    ConflictsOpen = 49, "CONFLICTS_OPEN", Data, false, "resolve the kind's open conflicts first";
    /// Another node alone writes records of this kind there.
    NotPrimary = 50, "NOT_PRIMARY", Authentication, false, "write on the primary that the detail names, or have this node made the primary and then `spoke outbox retry`";
}

/// A refusal that is recorded: the mutation's dot is consumed and it had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{}: {detail}", reason.as_str())]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What exactly, for a person; at most [`DETAIL_BYTES_MAX`].
    pub detail: String,
}

/// Longest detail, bytes.
pub const DETAIL_BYTES_MAX: usize = 512;

impl Refusal {
    /// A refusal; a longer detail is cut at a character boundary.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            let mut end = DETAIL_BYTES_MAX;
            while !detail.is_char_boundary(end) {
                end -= 1;
            }
            detail.truncate(end);
        }
        Self { reason, detail }
    }
}
