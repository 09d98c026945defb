-- Afield's bookkeeping in a team's SQLite database. Everything is named afield_*; `afield prepare
-- --remove` takes all of it away. Beside these tables there is one afield_mark_<table> for each
-- captured table, and one afield_source<n>_<table> for each that lookups read; marks.rs makes them.

CREATE TABLE afield_node (
  one INTEGER PRIMARY KEY CHECK (one = 1), -- there is one row
  schema_version INTEGER NOT NULL,         -- of these tables; see SCHEMA_VERSION
  incarnation BLOB NOT NULL,               -- 8 random bytes, made by `afield prepare`
  code_key BLOB NOT NULL,                  -- 32 random bytes: the key of the position tokens
  horizon INTEGER NOT NULL,                -- marks are whole above this change number
  former_journal_mode TEXT NOT NULL,       -- given back by `afield prepare --remove`
  ledger_horizon INTEGER NOT NULL DEFAULT 0, -- the ledger is whole above it; 0: forgot nothing
  inbox_n INTEGER NOT NULL DEFAULT 0       -- the newest number of an entry in the inbox
);

CREATE TABLE afield_clock (
  one INTEGER PRIMARY KEY CHECK (one = 1), -- there is one row
  change INTEGER NOT NULL                  -- the number of the latest row change
);

CREATE TABLE afield_epoch (
  number INTEGER PRIMARY KEY,              -- counts the starts of a server
  epoch BLOB NOT NULL UNIQUE,              -- 8 random bytes, made at that start
  beacon INTEGER NOT NULL                  -- no position above this number was given to a device
);

CREATE TABLE afield_moment (
  change INTEGER PRIMARY KEY,              -- a change number that was reached
  at INTEGER NOT NULL                      -- when, at the latest, in seconds since 1970
);

CREATE TABLE afield_table (
  name TEXT PRIMARY KEY COLLATE NOCASE,    -- a captured table, or a source of lookups
  since INTEGER NOT NULL                   -- its marks are whole from this change number on
) WITHOUT ROWID;

CREATE TABLE afield_ledger (
  user TEXT NOT NULL,                      -- who sent the group
  group_id BLOB NOT NULL,                  -- its 16 random bytes
  hash BLOB,                               -- of what the user did; null until it comes itself
  verdicts BLOB,                           -- what became of it, in CBOR; null as long as hash is
  applied INTEGER NOT NULL,                -- 1 if it took effect, by itself or folded
  absorbed_by BLOB,                        -- the group that it was folded into before that came
  at INTEGER NOT NULL,                     -- seconds since 1970, for people
  change INTEGER NOT NULL DEFAULT 0,       -- the change number when it came: when it is forgotten
  PRIMARY KEY (user, group_id)
) WITHOUT ROWID;

CREATE TABLE afield_number (
  user TEXT NOT NULL,                      -- who sent the group
  group_id BLOB NOT NULL,                  -- the group that created the row
  entity TEXT NOT NULL,                    -- the local entity, whose rows the server numbers
  temporary INTEGER NOT NULL,              -- the row's identifier on the device until then
  number INTEGER NOT NULL,                 -- the one that it was given
  PRIMARY KEY (user, group_id, entity, temporary)
) WITHOUT ROWID;

CREATE TABLE afield_part (
  user TEXT NOT NULL,                      -- who sends a group that is too large for one request
  group_id BLOB NOT NULL,                  -- its 16 random bytes
  at INTEGER NOT NULL,                     -- where this piece begins in its bytes
  total INTEGER NOT NULL,                  -- how many bytes it has
  bytes BLOB NOT NULL,                     -- the piece
  came INTEGER NOT NULL,                   -- seconds since 1970: when its newest piece came
  PRIMARY KEY (user, group_id, at)
);

CREATE TABLE afield_inbox_group (
  user TEXT NOT NULL,                      -- who sent the group that was refused
  group_id BLOB NOT NULL,                  -- its 16 random bytes
  n INTEGER NOT NULL,                      -- the number of its first entry in afield_inbox
  device TEXT NOT NULL,                    -- the device that sent it, as it called itself
  claims TEXT NOT NULL,                    -- what the user's token claimed, in JSON
  content BLOB,                            -- the group as it was sent, in CBOR; null if too large
  at INTEGER NOT NULL,                     -- seconds since 1970, for people
  state TEXT NOT NULL,                     -- open; decided (here) or closed (on the device)
  decision TEXT,                           -- mine, theirs, set, merged, sent-again, dropped
  decided_by TEXT,                         -- who decided here
  decided_at INTEGER,                      -- when that was, or the device told, as above
  into_id BLOB,                            -- the group that was applied in its place
  answer BLOB,                             -- what the device is told: verdicts in CBOR
  told INTEGER NOT NULL DEFAULT 0,         -- 1 once the device has stored what was decided here
  PRIMARY KEY (user, group_id)
) WITHOUT ROWID;

CREATE TABLE afield_inbox (
  n INTEGER NOT NULL UNIQUE,               -- the entry's number; none comes twice
  user TEXT NOT NULL,                      -- who sent the group
  group_id BLOB NOT NULL,                  -- the group
  at INTEGER NOT NULL,                     -- the change's place in the group
  entity TEXT NOT NULL,                    -- the local entity
  key TEXT NOT NULL,                       -- the identifier as the device had it, in JSON
  op TEXT NOT NULL,                        -- create, update, delete
  result TEXT NOT NULL,                    -- conflict, rejected; applied: not, with its group
  code TEXT,                               -- why
  attribute TEXT,                          -- the attribute that the code speaks of
  message TEXT,                            -- for people
  base TEXT,                               -- the row as the user saw it, in JSON; null if too large
  mine TEXT,                               -- what he set, likewise
  theirs TEXT,                             -- the row as he was told of it; null if of none
  PRIMARY KEY (user, group_id, at)
) WITHOUT ROWID;

CREATE TABLE afield_device_log (
  n INTEGER PRIMARY KEY,                   -- the entry's number, in the order in which they came
  user TEXT NOT NULL,                      -- whose device sent it
  entry_id BLOB NOT NULL,                  -- 16 random bytes of the device's: it is kept once
  device TEXT NOT NULL,                    -- the device, as it calls itself
  at_ms INTEGER NOT NULL,                  -- when it was written: its clock, ms since 1970
  came INTEGER NOT NULL,                   -- when it came, seconds since 1970
  level TEXT NOT NULL,                     -- debug, info, warn, error
  module TEXT NOT NULL,                    -- the part of the app that it is about
  message TEXT NOT NULL,                   -- what happened
  dropped INTEGER NOT NULL,                -- entries dropped in its place; 0: it tells of none
  UNIQUE (user, entry_id),
  UNIQUE (user, came, n)                   -- what is taken of a user in a day is counted
);
