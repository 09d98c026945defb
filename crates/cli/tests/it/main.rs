//! Integration tests of the program: its own binary, real files, real connections.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod proxy;
mod world;

mod named_answers;
mod named_bytes;
mod named_child;
mod named_copies;
mod named_kills;
mod named_overlaps;
mod named_poison;
mod named_processes;
mod named_verdicts;
