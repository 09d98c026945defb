-- Groups that left in a file or came with one, by the ids that they had then: others may send them.
CREATE TABLE afield_left (
  id  BLOB PRIMARY KEY,  -- the group's id, 16 bytes
  how TEXT NOT NULL,     -- exported, imported
  at  INTEGER NOT NULL   -- when that was, ms since 1970
) WITHOUT ROWID;
