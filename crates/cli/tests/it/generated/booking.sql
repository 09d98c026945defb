-- Rows that the server numbers, with children of both kinds.

CREATE TABLE booking (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  tag   TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state <> 'wrong')
);
CREATE TABLE line (
  booking_id INTEGER NOT NULL REFERENCES booking (id),
  n          INTEGER NOT NULL,
  amount     INTEGER,
  PRIMARY KEY (booking_id, n)
);
CREATE TABLE remark (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  booking_id INTEGER NOT NULL REFERENCES booking (id),
  text       TEXT
);
INSERT INTO booking (id, tag, state) VALUES (6999, 'of the desk', 'good');
