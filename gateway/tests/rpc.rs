//! The services over a loopback connection, on a memory store.

#[path = "rpc/world.rs"]
mod world;

#[path = "rpc/admin.rs"]
mod admin;
#[path = "rpc/layers.rs"]
mod layers;
#[path = "rpc/refusals.rs"]
mod refusals;
#[path = "rpc/sessions.rs"]
mod sessions;
