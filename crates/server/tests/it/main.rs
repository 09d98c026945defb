//! Integration tests of the server: real SQLite files, real HTTP.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod http_limits;
mod http_other;
mod http_real;
mod http_serve;
mod http_support;
mod http_sync;
mod model_catalog;
mod model_file;
mod model_init;
mod model_resolve;
mod sqlite_database;
mod sqlite_marks;
mod sqlite_prepare;
mod sqlite_storage;
