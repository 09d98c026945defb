//! Integration tests of the client: real SQLite files, frames built by hand, real HTTP.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod capture_random;
mod decide_random;
mod ids;
mod ids_decide;
mod ids_old;
mod ids_outcomes;
mod native_driver;
mod native_faults;
mod native_server;
mod native_tls;
mod sheets;
mod stock;
mod store_actions;
mod store_columns;
mod store_conflict;
mod store_crash;
mod store_decide;
mod store_decide_crash;
mod store_gone;
mod store_held;
mod store_install;
mod store_kinds;
mod store_known;
mod store_open;
mod store_outbox;
mod store_overlays;
mod store_pages;
mod store_refusals;
mod store_stage;
mod store_types;
mod watch_own;
mod watch_process;
mod world;
