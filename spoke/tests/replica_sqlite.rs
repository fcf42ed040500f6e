//! The cases of `replica.rs` on a replica in a file.

#[path = "replica.rs"]
mod cases;
