//! Integration tests of the client: real SQLite files, frames built by hand.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod native_driver;
mod native_faults;
mod native_server;
mod native_tls;
mod watch_own;
mod watch_process;
