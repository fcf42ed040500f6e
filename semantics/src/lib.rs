//! What Hubward's records mean. Everything here is pure, total and deterministic: state in, decision out.

pub mod access;
pub mod builtin;
pub mod canonical;
pub mod clock;
pub mod commit;
pub mod conflict;
pub mod cursor;
pub mod decide;
pub mod delivery;
pub mod digest;
pub mod envelope;
pub mod export;
pub mod fault;
pub mod ids;
pub mod join;
pub mod kind;
pub mod lthash;
pub mod outcome;
pub mod reason;
pub mod role;
pub mod schedule;
pub mod schema;
pub mod session;
pub mod version;
pub mod view;
