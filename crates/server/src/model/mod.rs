//! The model: `afield.toml` as a person writes it, held against the database.
//!
//! ```text
//!   text ──► file ──► resolve ──► ServerModel          init, add ──► text
//!                        ▲                                  ▲
//!                     catalog ──────────────────────────────┘
//! ```
//!
//! [`mod@file`] knows TOML and no database, [`resolve`](resolve::resolve) knows a catalog and no
//! text. Both report everything they find, each error with its place and its remedy.

pub mod add;
pub mod condition;
mod error;
pub mod file;
pub mod init;
mod later;
mod owner;
mod propose;
mod quantity;
mod reader;
pub mod resolve;
pub mod scope;

pub use error::{ModelError, Place};
pub use file::ModelFile;
pub use resolve::{Checked, check, resolve};
