-- Values of scopes that the app wants now, each until it is too long ago that it said so.
CREATE TABLE afield_chosen (
  scope TEXT NOT NULL,     -- the scope, as in the model
  value NOT NULL,          -- the value in canonical form
  until INTEGER NOT NULL,  -- when it is no longer chosen, ms since 1970
  PRIMARY KEY (scope, value)
) WITHOUT ROWID;
