-- When the rows of each sync unit were last compared with the server's, and what came of it.
CREATE TABLE afield_verify (
  unit        TEXT PRIMARY KEY,            -- as in the model
  checked_at  INTEGER NOT NULL,            -- when last compared, or first known; ms since 1970
  verified_at INTEGER,                     -- when they were last equal; NULL if they differ since
  found       INTEGER NOT NULL DEFAULT 0,  -- rows that were found to differ, of all times
  repaired    INTEGER NOT NULL DEFAULT 0   -- rows that were repaired, of all times
) WITHOUT ROWID;

-- Rows that only this device has, or has otherwise than the server: found by a comparison, and kept
-- as they were here when they are repaired.
CREATE TABLE afield_uncaptured (
  n           INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they were found
  entity      TEXT NOT NULL,               -- the local entity
  key         BLOB NOT NULL,               -- the identifier in canonical CBOR
  kind        TEXT NOT NULL,               -- only-here, other-content
  content     BLOB,                        -- attributes here, canonical CBOR; NULL if not kept
  found_at    INTEGER NOT NULL,            -- ms since 1970
  repaired_at INTEGER                      -- when the server's took its place; NULL if not yet
);
CREATE UNIQUE INDEX afield_uncaptured_open ON afield_uncaptured (entity, key)
  WHERE repaired_at IS NULL;
