-- One row: whether the user has logged out.
CREATE TABLE afield_session (
  one        INTEGER PRIMARY KEY CHECK (one = 1), -- always 1
  signed_out INTEGER NOT NULL              -- 1: opened again only by who signs in
);
INSERT INTO afield_session (one, signed_out) VALUES (1, 0);
