-- A database with everything that a generated name or type can trip over.

CREATE TABLE visit (
  id      UUID NOT NULL PRIMARY KEY,
  title   TEXT,
  seats   INTEGER DEFAULT 4,
  score   REAL,
  price   DECIMAL(8, 2),
  done    BOOLEAN,
  day     DATE,
  at      TIME,
  planned DATETIME,
  sent    TIMESTAMPTZ,
  photo   BLOB,
  extra   JSON,
  office  TEXT
);

CREATE TABLE "order details" (
  "order"                TEXT NOT NULL,
  "Line No"              INTEGER NOT NULL,
  "line_no"              TEXT,
  "type"                 TEXT,
  "Type "                TEXT,
  "self"                 TEXT,
  "2nd"                  TEXT,
  "Größe (cm)"           REAL,
  "a ""quote"" and `tick`" TEXT,
  "顧客"                 TEXT,
  "??"                   TEXT,
  "a_name_that_is_much_longer_than_any_name_that_a_person_would_want_to_write_or_to_read_twice" TEXT,
  "a_name_that_is_much_longer_than_any_name_that_a_person_would_want_to_write_or_to_read_again" TEXT,
  PRIMARY KEY ("order", "Line No")
);

CREATE TABLE option (id INTEGER NOT NULL, name TEXT, PRIMARY KEY (id));
CREATE TABLE "Order_Details" (x TEXT NOT NULL PRIMARY KEY);
CREATE TABLE member (
  visit_id UUID NOT NULL REFERENCES visit (id),
  option_id INTEGER NOT NULL REFERENCES option (id),
  PRIMARY KEY (visit_id, option_id)
);
CREATE TABLE office (code TEXT NOT NULL PRIMARY KEY, name TEXT);
INSERT INTO office VALUES ('N', 'North'), ('S', 'South');
INSERT INTO option VALUES (1, 'lift'), (2, 'ramp');
