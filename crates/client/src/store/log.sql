-- One row: an entry of the app's log that no server is known to have.
CREATE TABLE afield_log (
  n         INTEGER PRIMARY KEY AUTOINCREMENT, -- its number; none comes twice in a store
  id        BLOB NOT NULL,     -- 16 random bytes: the server knows it by them if it comes again
  at        INTEGER NOT NULL,  -- when, ms since 1970
  bytes     INTEGER NOT NULL,  -- what it counts for
  dropped   INTEGER NOT NULL,  -- older entries that were dropped here; 0 if it tells of none
  level     TEXT NOT NULL,     -- debug, info, warn, error
  module    TEXT NOT NULL,     -- the part of the app that it is about
  message   TEXT NOT NULL      -- what happened
);
