//! Hubward's wire: the .proto files as generated code, and the conversions that validate their shape. An invalid
//! message cannot become a value of `semantics`.

pub mod codec;
pub mod convert;
mod form;
pub mod reason;
pub mod shape;
pub mod told;

/// Generated from `hubward/v1/*.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::too_many_lines,
    clippy::as_conversions,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    missing_debug_implementations,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("hubward.v1");
}

pub use convert::Wire;
pub use shape::ShapeError;

/// Zstandard's level of messages on the wire. The library of the wire has no setting for it and takes that library's
/// own default; a test packs what a hub has sent again, and compares.
pub const ZSTD_LEVEL: i32 = 3;

/// The compiled descriptors of every .proto file, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
