//! PostgreSQL: reaching a team's own database and reading what it has.
//!
//! This folder is the only place of the server that names its client library.

pub mod connect;
