//! Integration tests of the program: real processes, a real server, real SQLite files.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod device;
mod repl;
mod support;
