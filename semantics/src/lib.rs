//! What Hubward's records mean. Everything here is pure, total and deterministic: state in, decision out.

pub mod clock;
pub mod commit;
pub mod conflict;
pub mod cursor;
pub mod decide;
pub mod digest;
pub mod envelope;
pub mod ids;
pub mod kind;
pub mod outcome;
pub mod reason;
pub mod session;
pub mod version;
pub mod view;
