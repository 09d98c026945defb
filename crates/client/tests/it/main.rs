//! Integration tests of the client: real SQLite files, frames built by hand.

mod capture_random;
mod store_actions;
mod store_outbox;
mod store_pages;
mod store_refusals;
mod store_types;
mod world;
