-- Afield's bookkeeping on the device. It lives beside the app's tables; nothing here is for an
-- app to write.

-- One row: what this store is.
CREATE TABLE afield_meta (
  one          INTEGER PRIMARY KEY CHECK (one = 1), -- always 1
  format       INTEGER NOT NULL,            -- version of these tables
  device       TEXT NOT NULL,               -- random identity, for logs
  user         TEXT NOT NULL,               -- whose rows and changes these are
  model        TEXT,                        -- resolved model as JSON; NULL before the first sync
  fingerprint  TEXT,                        -- the model's fingerprint
  server       TEXT,                        -- where to sync, as last given
  request      INTEGER NOT NULL DEFAULT 0,  -- number of the newest request
  last_success INTEGER,                     -- when a sync last completed, ms since 1970
  last_error   TEXT,                        -- code of the newest sync's failure, if it failed
  checkpoint   BLOB NOT NULL DEFAULT x'',   -- the server's token: how far its history had come
  upgrade_model   TEXT,                     -- fingerprint of a model that could not be installed
  upgrade_code    TEXT,                     -- code of the cause; NULL if no upgrade failed
  upgrade_message TEXT,                     -- the cause, for a person
  upgrade_told    INTEGER NOT NULL DEFAULT 0, -- 1: the server knows
  inbox        INTEGER NOT NULL DEFAULT 0,  -- 1: the server understands what became of groups here
  logs         INTEGER NOT NULL DEFAULT 0   -- 1: the server takes the log
);

-- One row for each local entity that there are tables for.
CREATE TABLE afield_entity (
  name           TEXT PRIMARY KEY,            -- as in the model
  definition     TEXT NOT NULL,               -- the entity that its tables were made from, as JSON
  position       BLOB,                        -- server's token for what the table holds
  complete       INTEGER NOT NULL DEFAULT 0,  -- 0 until the first download is through
  stage_position BLOB,                        -- token for what is staged beyond that
  stage_reset    INTEGER NOT NULL DEFAULT 0,  -- 1: the staged rows replace the whole table
  touched        INTEGER NOT NULL DEFAULT 0,  -- counts writes of any connection, for watches
  doubted        INTEGER NOT NULL DEFAULT 0,  -- 1: a number may be another row since a restore
  unfetched      TEXT NOT NULL DEFAULT ''     -- attributes new to its rows, until the next download
);

-- Change groups, oldest first: the outbox, and for a while what became of it. A number may come
-- again when its group is gone; no group is known by it outside of these tables. So with changes,
-- once no outcome speaks of the number any more.
CREATE TABLE afield_group (
  n          INTEGER PRIMARY KEY,          -- place in the outbox
  id         BLOB NOT NULL UNIQUE,         -- random, 16 bytes
  absorbed   BLOB NOT NULL,                -- ids in whose place it stands, 16 bytes each
  state      TEXT NOT NULL,                -- pending, sent, settled, parked, dropped
  frozen     BLOB,                         -- the very bytes sent, from the first request on
  hash       BLOB,                         -- of the frozen group
  received   INTEGER NOT NULL DEFAULT 0,   -- bytes of it that the server keeps, if sent in parts
  made_at    INTEGER NOT NULL,             -- ms since 1970
  attempts   INTEGER NOT NULL DEFAULT 0,   -- failures of this group alone
  not_before INTEGER NOT NULL DEFAULT 0,   -- back-off: not sent before this time
  checkpoint BLOB NOT NULL DEFAULT x''     -- of its making; once it is settled, of its outcome
);
CREATE INDEX afield_group_state ON afield_group (state, n);

-- Changes, one row of an entity each.
CREATE TABLE afield_change (
  n          INTEGER PRIMARY KEY,          -- in the order in which they were made
  group_n    INTEGER NOT NULL REFERENCES afield_group (n), -- its group
  at         INTEGER NOT NULL,             -- place in the group
  entity     TEXT NOT NULL,                -- the local entity
  key        BLOB NOT NULL,                -- the identifier in canonical CBOR
  op         TEXT NOT NULL,                -- create, update, delete
  base       BLOB NOT NULL,                -- attributes before, canonical CBOR
  sets       BLOB NOT NULL,                -- attributes set
  overlay    INTEGER NOT NULL DEFAULT 1,   -- 1 while the visible row is recomputed with it
  seen_from  INTEGER,                      -- applied: first request whose complete pull has it
  theirs     BLOB,                         -- the server's row, as last shown with a conflict
  refreshed  INTEGER NOT NULL DEFAULT 0    -- 1: a pull brought the server's row since then
);
CREATE INDEX afield_change_group ON afield_change (group_n, at);
CREATE INDEX afield_change_row ON afield_change (entity, key, n);

-- Outcomes in the order in which they arrived; one for each change, never changed.
CREATE TABLE afield_outcome (
  n         INTEGER PRIMARY KEY AUTOINCREMENT, -- place in the order of arrival
  change_n  INTEGER NOT NULL,              -- the change it is about
  group_id  BLOB NOT NULL,                 -- that change's group, as it was sent
  at        INTEGER NOT NULL,              -- place in the group
  entity    TEXT NOT NULL,                 -- the local entity
  key       BLOB NOT NULL,                 -- the identifier in canonical CBOR
  op        TEXT NOT NULL,                 -- create, update, delete
  result    TEXT NOT NULL,                 -- applied, conflict, rejected
  code      TEXT,                          -- why, unless applied
  attribute TEXT,                          -- the attribute that the code speaks of
  message   TEXT,                          -- for a person
  new_key   BLOB,                          -- the identifier that the server gave, if another
  stored_at INTEGER NOT NULL               -- ms since 1970
);
CREATE INDEX afield_outcome_change ON afield_outcome (change_n);

-- Identifiers that the server gave in place of temporary ones, for the life of the store.
CREATE TABLE afield_ids (
  entity    TEXT NOT NULL,     -- the local entity whose identifiers the server makes
  temporary INTEGER NOT NULL,  -- what the device called the row
  real      INTEGER NOT NULL   -- what the server calls it
);
CREATE UNIQUE INDEX afield_ids_temporary ON afield_ids (entity, temporary);
