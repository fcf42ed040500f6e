//! The services over a loopback connection, on a memory store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a surprise is a failure"
)]
#![allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "cases are shared between modules of this binary"
)]

#[path = "rpc/world.rs"]
mod world;

#[path = "rpc/admin.rs"]
mod admin;
#[path = "rpc/asks.rs"]
mod asks;
#[path = "rpc/audit.rs"]
mod audit;
#[path = "rpc/by_hand.rs"]
mod by_hand;
#[path = "rpc/compressed.rs"]
mod compressed;
#[path = "rpc/conflicts.rs"]
mod conflicts;
#[path = "rpc/layers.rs"]
mod layers;
#[path = "rpc/refusals.rs"]
mod refusals;
#[path = "rpc/registry.rs"]
mod registry;
#[path = "rpc/rights.rs"]
mod rights;
#[path = "rpc/sessions.rs"]
mod sessions;
#[path = "rpc/slow.rs"]
mod slow;
