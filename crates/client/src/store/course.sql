-- How far the download of a sync unit had come when a sync ended in the middle of it, for the next one
-- to tell its progress.
CREATE TABLE afield_course (
  unit      TEXT PRIMARY KEY,              -- as in the model
  rows      INTEGER NOT NULL,              -- rows of it that were here
  remaining INTEGER NOT NULL               -- rows that were to come, by the server's estimate
) WITHOUT ROWID;
