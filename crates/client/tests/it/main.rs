//! Integration tests of the client: real SQLite files, frames built by hand.

mod world;

mod store_actions;
mod store_outbox;
mod store_pages;
mod store_refusals;
mod store_types;
