//! PostgreSQL: reaching a team's own database and reading what it has.
//!
//! This folder is the only place of the server that names its client library.

pub mod catalog;
pub mod cell;
#[cfg(test)]
mod cell_tests;
pub mod connect;
mod expression;
pub mod name;
mod numeric;
pub mod query;
mod session;

pub use self::session::Session;
