//! Afield's server: it stands beside a team's own database, sends each device the rows in its
//! user's scope and takes the changes that devices made.
//!
//! ```text
//!   afield.toml ──► model ──► resolved ◄── catalog ◄── the team's database
//!                               │                             ▲
//!   device ── http ── sync ─────┴──► storage (pull, push) ────┘
//! ```

pub mod auth;
pub mod catalog;
pub mod http;
mod live;
pub mod model;
pub mod position;
pub mod resolved;
pub mod serve;
pub mod storage;
