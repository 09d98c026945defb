//! PostgreSQL: reaching a team's own database and reading what it has.
//!
//! This folder is the only place of the server that names its client library.

pub mod catalog;
pub mod connect;
mod expression;
pub mod name;
pub mod query;
mod session;

pub use self::session::Session;
