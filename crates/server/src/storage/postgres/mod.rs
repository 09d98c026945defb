//! PostgreSQL: a team's own database, with Afield's bookkeeping in the schema `afield`.
//!
//! ```text
//!   prepare ──► triggers on the team's tables ──► afield.mark_…     touched ──► keys, snapshot
//!                  ▲                                   ▲               │
//!   any writer ────┘      check, purge, beacon ────────┘ ◄─────────────┘
//! ```
//!
//! Commits have no order that a number could follow, so a device's checkpoint is a snapshot of the
//! database: a pull asks which rows were touched by transactions that it does not see.
//!
//! This folder is the only place of the server that names the client library.

mod bookkeeping;
mod capture;
mod captures;
pub mod catalog;
pub mod cell;
#[cfg(test)]
mod cell_tests;
mod columns;
pub mod connect;
mod deletion;
mod duties;
mod entity;
mod epoch;
mod error;
mod expression;
mod history;
mod inbox;
mod key;
mod kinds;
mod link;
mod live;
mod log;
mod lookups;
mod marks;
pub mod name;
mod numeric;
mod parts;
#[cfg(test)]
mod plan_tests;
mod pool;
mod position;
mod prepare;
mod present;
mod pull;
mod purge;
mod push;
pub mod query;
mod quoted;
mod run;
mod scope;
mod scope_reads;
mod session;
mod shape;
mod statements;
mod storage;
mod tables;
mod window;

pub use self::bookkeeping::{SCHEMA_VERSION, TABLES_SQL};
pub use self::duties::{Changed, Forgotten, beacon, check_capture, purge};
pub use self::marks::{
    Captured, Kind, ScopeValues, Snapshot, Touched, captured, explain, hold, touched,
};
pub use self::prepare::{Report, Statement, check, plan, prepare, remove};
pub use self::session::Session;
pub use self::storage::PostgresStorage;
