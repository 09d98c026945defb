//! Storage in PostgreSQL: the team's own database, with Afield's bookkeeping in the schema
//! `afield`.
//!
//! ```text
//!   prepare ──► triggers on the team's tables ──► afield.mark_…     touched ──► keys, snapshot
//!                  ▲                                   ▲               │
//!   any writer ────┘      check, purge, beacon ────────┘ ◄─────────────┘
//! ```
//!
//! Commits have no order that a number could follow, so a device's checkpoint is a snapshot of the
//! database: a pull asks which rows were touched by transactions that it does not see.

mod bookkeeping;
mod by_url;
mod capture;
mod captures;
mod duties;
mod error;
mod kinds;
mod marks;
mod prepare;
mod present;
mod query;
mod quoted;
mod run;
mod shape;

pub use self::bookkeeping::{SCHEMA_VERSION, TABLES_SQL};
pub use self::by_url::{plan_url, prepare_url, remove_url};
pub use self::duties::{Changed, Forgotten, beacon, check_capture, purge};
pub use self::marks::{
    Captured, Kind, ScopeValues, Snapshot, Touched, captured, explain, hold, touched,
};
pub use self::prepare::{Report, Statement, check, plan, prepare, remove};
