//! trials

pub mod tree;
