-- One row: whether the server can be reached, for entities that are written only then.
CREATE TABLE afield_network (
  one          INTEGER PRIMARY KEY CHECK (one = 1), -- always 1
  online_until INTEGER NOT NULL             -- how long its last answer counts, ms since 1970
);
INSERT INTO afield_network (one, online_until) VALUES (1, 0);
