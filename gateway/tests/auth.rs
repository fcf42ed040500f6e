//! Trust: keys, joining, assertions, access tokens; each refusal by its reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a surprise is a failure, and what is skipped is said aloud"
)]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "cases are shared between modules of this binary"
)]

#[path = "support/ambient.rs"]
mod ambient;

#[path = "auth/access.rs"]
mod access;
#[path = "auth/assertions.rs"]
mod assertions;
#[path = "auth/cut_short.rs"]
mod cut_short;
#[path = "support/faults.rs"]
mod faults;
#[path = "auth/joining.rs"]
mod joining;
#[path = "auth/keys.rs"]
mod keys;
#[path = "auth/operators.rs"]
mod operators;
#[path = "auth/rotation.rs"]
mod rotation;
#[path = "auth/services.rs"]
mod services;
#[path = "auth/unknown.rs"]
mod unknown;
#[path = "auth/world.rs"]
mod world;
