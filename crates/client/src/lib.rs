//! Afield gives an app its data when there is no network.
//!
//! The app keeps a small, real SQLite database on the device and reads and writes it with SQL or
//! with entity actions. Every write is captured by triggers, whoever makes it; a sync sends what
//! was changed and receives what the server has for this user.
//!
//! ```text
//!   app ──► Store (entity actions, SQL, watch)     one SQLite file per user
//!             │  capture, seal                        ▲
//!             ▼                                       │
//!           outbox ──► SyncStore ◄── Engine ◄── driver (HTTP, clock, randomness)
//! ```
//!
//! [`Store`] is the app's side, [`SyncStore`] the engine's; both open the same file and share
//! nothing else, so a user's write never waits for the network. [`engine::Engine`] decides what a
//! sync does next and performs none of it; with the feature `native` (the default) `native::Client`
//! carries its commands out.

mod backoff;
pub mod engine;
mod environment;
mod error;
pub mod event;
mod key;
pub mod live;
#[cfg(feature = "native")]
pub mod native;
pub mod network;
pub mod queue;
pub mod retry;
pub mod schedule;
pub mod sse;
mod store;
pub mod typed;

pub use afield_protocol as protocol;
pub use environment::Environment;
pub use error::Error;
pub use key::Key;
pub use store::{
    Begun, CHANGED_MAX, ChangeInfo, ChangeState, Changed, Checked, ChosenValue, ConflictInfo,
    DecidedInfo, DecidedWhat, Difference, DifferentRow, Executed, ExportOptions, Exported,
    FileChanges, Found, FoundWhat, FrozenGroup, Imported, LOG_KEPT, LOG_KEPT_BYTES, Offer, Origin,
    OutcomeInfo, Outgoing, PageApplied, Params, Repaired, RequestCaps, Resolution, RowState, Rows,
    Status, Store, SyncEnd, SyncStore, Transaction, UncapturedRow, UnitStatus, Unsent,
    UpgradeFailed, VerifyStatus, Watch, Watches,
};

/// The examples of the page are compiled.
#[cfg(all(doctest, feature = "native"))]
#[doc = include_str!("../../../docs/sync.md")]
struct SyncPage;

/// The same.
#[cfg(all(doctest, feature = "native"))]
#[doc = include_str!("../../../docs/outsystems.md")]
struct OutSystemsPage;

/// The same.
#[cfg(all(doctest, feature = "native"))]
#[doc = include_str!("../../../docs/logs.md")]
struct LogsPage;
