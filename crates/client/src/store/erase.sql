-- One row once anything left that is to be erased from the files of the store: some of it still is
-- while `done` is less than `times`.
CREATE TABLE afield_erase (
  one   INTEGER PRIMARY KEY CHECK (one = 1), -- always 1
  times INTEGER NOT NULL,                    -- how often something left
  done  INTEGER NOT NULL                     -- how often that is up to which all is erased
);
