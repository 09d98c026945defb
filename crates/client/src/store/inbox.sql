-- What was decided on the server about groups that it had refused.
CREATE TABLE afield_decided (
  group_id  BLOB PRIMARY KEY,  -- the group, under the id that was refused
  into_id   BLOB,              -- the group that was applied in its place; NULL if it was dropped
  what      TEXT NOT NULL,     -- applied, dropped; kept: its user decides; late: he has decided
  decider   TEXT NOT NULL,     -- who decided, for people
  at        INTEGER NOT NULL,  -- when, by the server's clock, ms since 1970
  stored_at INTEGER NOT NULL   -- ms since 1970
) WITHOUT ROWID;

-- What the server is to be told of groups that it had refused.
CREATE TABLE afield_closing (
  group_id BLOB PRIMARY KEY,   -- the group, under the id that was refused
  how      TEXT NOT NULL,      -- told, mine, theirs, merged, sent-again, dropped
  at       INTEGER NOT NULL    -- when that was noted, ms since 1970
) WITHOUT ROWID;
