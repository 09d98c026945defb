//! What both sides of Afield agree on: entities, values, changes, messages, the conflict rule,
//! error codes and limits.
//!
//! Nothing here reads a clock, opens a file or knows SQL; every type is data and every decision a
//! pure function, so that client, server and simulator run exactly the same rules.
//!
//! ```text
//!   value ──► change ──► group ──► frame ──► cbor | json ──► bytes
//!                 │                  ▲
//!                 └──► conflict      └── outcome, rows, positions
//! ```

mod canonical;
mod change;
mod code;
pub mod codec;
pub mod conflict;
mod convert;
pub mod dependence;
pub mod digest;
mod frame;
mod inbox;
pub mod limits;
mod log;
mod model;
pub mod moment;
pub mod outbox_file;
mod outcome;
mod rows;
pub mod rule;
mod value;
pub mod zoo;

pub use change::{Attributes, Change, Group, GroupHash, GroupId, Key, Op, Origin};
pub use code::Code;
pub use frame::{
    Checkpoint, Chosen, Comparison, Digest, Fetch, Frame, HashedRow, Hashes, Held, Hello, History,
    Page, PageEnd, Part, Position, Problem, Received, Verify, Welcome, Window,
};
pub use inbox::{Closed, Closing, Decided};
pub use log::{Level, LogEntry, cut};
pub use model::{
    Attribute, ChosenScope, DeviceLimits, Entity, FIRST_TEMPORARY, Identifier, Literal, Merge,
    Model, ModelError, Pattern, Reference, RetryConfig, SCOPE_COLUMN, SyncConfig, Unit,
    is_temporary,
};
pub use outcome::{GroupOutcome, Theirs, Verdict, VerdictKind};
pub use rows::{Cell, RowBlock, RowBlockWriter};
pub use rule::Rule;
pub use value::{Type, TypeMismatch, Value, ValueRef};

/// The version of the messages in this crate, named in every request and answer.
pub const PROTOCOL_VERSION: u32 = 1;

/// The header of `POST /v1/sync` with the version of the device's model, so that a server can
/// refuse those that are too old.
pub const MODEL_VERSION_HEADER: &str = "afield-model-version";

/// The header of `POST /v1/sync` that tells a server's log of a model that a device could not take:
/// the model's fingerprint, or `unreadable`, a space, and the code of the cause.
pub const UPGRADE_FAILED_HEADER: &str = "afield-upgrade-failed";

/// The header of `POST /v1/sync` by which a device asks what was decided on the server about groups
/// that it refused. Its value is the version of what the device understands: 1.
pub const INBOX_HEADER: &str = "afield-inbox";

/// The header of `POST /v1/sync` by which a device asks whether the server takes its log. Its value
/// is the version of what the device understands: 1.
pub const LOG_HEADER: &str = "afield-log";
