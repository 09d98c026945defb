//! Limits both sides keep, each with its reason.
//!
//! A limit that a team may change has its default here; the others are part of the protocol.

/// Largest body of one request after decompression, in bytes: what a server holds in memory for a
/// device that sends as much as it can.
pub const BODY_BYTES: usize = 32 * 1024 * 1024;

/// Bytes that a body may unpack to before anybody asks how many times as long as it came it is:
/// small bodies cost nothing, and the most alike of changes are small.
pub const UNPACKED_FREE_BYTES: usize = 1024 * 1024;

/// How many times as long as it came a larger body may be: text that repeats itself in every row
/// comes to 50, a made-up body to thousands.
pub const UNPACKED_RATIO: usize = 200;

/// Frames in one request: an envelope full of groups of one change, several times over.
pub const REQUEST_FRAMES: usize = 10_000;

/// CBOR items in one frame of a request. A value takes some fifty bytes once it is read, whatever
/// it took on the wire; what has more is parked as `group-too-large`.
pub const FRAME_ITEMS_MAX: usize = 4_000_000;

/// Values of one scope that a user holds, rows that a path leads through included: each costs a
/// server about a microsecond in every pull.
pub const SCOPE_VALUES_MAX: usize = 100_000;

/// Requests of one device in a minute. A device that syncs after every write asks thirty times,
/// one that uploads a week's work some hundred; more is a loop.
pub const DEVICE_RATE: u32 = 600;

/// Largest single frame, in bytes: what a receiver must buffer before it can act. A page is many
/// frames, so this bounds a group or one large cell, not a download.
pub const FRAME_BYTES: usize = 32 * 1024 * 1024;

/// Longest line of JSON, in bytes. JSON is for people and tests, and is read by way of a tree that
/// can take a hundred times as much memory.
pub const JSON_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Changes in one envelope. An outbox is cut at group borders at this or [`BATCH_BYTES`],
/// whichever comes first, so that one request stays short on a bad connection.
pub const BATCH_CHANGES: usize = 1_000;

/// Bytes of groups in one envelope; see [`BATCH_CHANGES`].
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Rows in one page. A page is what a device stores at once and resumes after.
pub const PAGE_ROWS: usize = 5_000;

/// Bytes of rows in one page: a connection that dies every few seconds on a slow network still
/// carries a page.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// Bytes of rows in the first pages of an answer; later ones are a quarter of what the answer has
/// carried, up to [`PAGE_BYTES`]. So a connection that dies after some hundred kilobytes brings
/// pages too, and a page that it does not finish is a small part of what it brought.
pub const PAGE_BYTES_FIRST: usize = 64 * 1024;

/// Bytes of rows gathered into one `rows` frame before it is sent.
pub const ROWS_FRAME_BYTES: usize = 64 * 1024;

/// Deepest nesting a decoder follows; the messages themselves need less than this.
pub const DEPTH: usize = 16;

/// Longest name of an entity, attribute or unit, in bytes.
pub const NAME_BYTES: usize = 128;

/// Values that one request chooses, of all scopes together: a person has not opened more than this
/// within days, and the server asks for each of them in every page.
pub const CHOSEN_VALUES_MAX: usize = 500;

/// Bytes of a value that is chosen: it is an identifier or a word, compared in an index.
pub const CHOSEN_VALUE_BYTES: usize = 256;

/// Changes in one group. A device's transaction that is larger is parked, and the rest flows:
/// more than this is no work of a person, and a group must fit a request.
pub const GROUP_CHANGES_MAX: usize = 100_000;

/// Bytes of a group that is sent in one piece; a larger one is sent in parts of this size, so that
/// a connection that dies early carries some of it too. A device halves it while its requests
/// fail.
pub const PART_BYTES: usize = 1024 * 1024;

/// The smallest part that a device goes down to.
pub const PART_BYTES_MIN: usize = 16 * 1024;

/// Bytes of one group's frame: a server must hold all of it at once to apply it. A larger group is
/// parked, and the rest flows.
pub const GROUP_BYTES_MAX: usize = BODY_BYTES - 64 * 1024;

/// Bytes that a server keeps of one user's unfinished groups. The oldest are forgotten first, and
/// begin again.
pub const PARTS_OF_USER_BYTES: usize = 64 * 1024 * 1024;

/// How long a device waits for a connection, in milliseconds: a lost packet or two.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// How long either side waits for a byte, in milliseconds: a hole in the network, not its end.
pub const IDLE_TIMEOUT_MS: u64 = 30_000;

/// How old the server's last answer may be, in milliseconds, for a device to count as up to date,
/// and as online: a person would call that "just now".
pub const FRESHNESS_MS: i64 = 60_000;

/// Bits of a bucket's number, at most: the sums of all buckets fit some hundred kilobytes, and a
/// bucket of a million rows has a few hundred.
pub const VERIFY_DEPTH_MAX: u8 = 12;

/// Rows listed with their hashes in one answer, and rows that one request fetches because they
/// differ: a page.
pub const VERIFY_ROWS_MAX: usize = 5_000;

/// Rows that a server hashes for one digest; more take seconds, and it says so instead.
pub const VERIFY_COUNTED_MAX: u64 = 2_000_000;

/// Decisions about refused groups in one request or answer; the next one has the others.
pub const INBOX_GROUPS: usize = 100;

/// Entries of a device's log in one request.
pub const LOG_ENTRIES: usize = 500;

/// Bytes of a device's log in one request: half of the smallest body that a team may allow, and
/// nothing beside what else a request carries.
pub const LOG_BYTES: usize = 32 * 1024;

/// Bytes of the name of a module in a log: a name, no sentence.
pub const LOG_MODULE_BYTES: usize = 64;

/// Bytes of a message in a log: some sentences, or the beginning of a trace.
pub const LOG_MESSAGE_BYTES: usize = 2 * 1024;
