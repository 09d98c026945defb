//! The table of values, cell by cell, through whole devices and a real server: each value is the
//! same in every place, or is refused where it was written, and stops nothing else.
//!
//! ```text
//!   entity action ─┐
//!   plain SQL ─────┼─► here ──► server's column ──► there ──► JSON of the command line, and back
//!                  └─ the team's SQL ─┘
//! ```

mod again;
mod arrive;
mod conflicts;
mod docs;
mod edges;
mod keys;
mod printed;
mod stations;
mod table;
