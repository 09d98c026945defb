-- When all rows of a sync unit were last here, as they were in one snapshot of the server.
CREATE TABLE afield_unit (
  name     TEXT PRIMARY KEY,               -- as in the model
  received INTEGER NOT NULL                -- when that snapshot was asked for, ms since 1970
) WITHOUT ROWID;
