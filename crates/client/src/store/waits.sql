-- Groups that are held because of others before them, kept as the outbox changes, for the views
-- that say how a row stands.
CREATE TABLE afield_waits (
  group_n INTEGER NOT NULL,  -- the group that is held
  until   INTEGER NOT NULL,  -- by a pause that ends then, ms since 1970; 0: by what is parked
  PRIMARY KEY (group_n, until)
);
CREATE INDEX afield_group_pause ON afield_group (not_before) WHERE not_before > 0;
