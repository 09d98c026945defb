//! The oracle for rows whose identifiers the server makes: it knows them by their tags.
//!
//! ```text
//! rows     rows by tag, and whether each one's references point to what its tag names
//! server   what was on the server under a tag, and since when; how often a tag was made
//! push     what a push did to tagged rows, and whether a refusal has its reason
//! device   what a device shows and holds, against what its user typed
//! drained  what must be true once every conflict is decided and every refusal settled
//! ```

pub(crate) mod device;
pub(crate) mod drained;
pub(crate) mod push;
pub(crate) mod rows;
pub(crate) mod server;
#[cfg(test)]
mod tests;
