//! The cases of `store.rs` on a replica in a file.

#[path = "store.rs"]
mod cases;
