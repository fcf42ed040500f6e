//! The Hubward spoke: a replica that reads and writes without a network, an outbox, and the machine that syncs
//! both with a hub.
//!
//! - [`replica::Replica`] is the local state over a [`replica::store::ReplicaStore`]: the confirmed layer (exactly
//!   the hub's state at the cursor) and the pending layer (the outbox replayed on top by the same rules).
//! - [`sync::Sync`] is pure: events in, actions out.
//! - [`engine::Engine`] performs the actions that concern the replica.

pub mod ambient;
pub mod cli;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod error;
pub mod export;
pub mod folder;
pub mod identity;
pub mod import;
pub mod replica;
pub mod runtime;
pub mod settings;
pub mod sync;
pub mod transport;
pub mod trust;
