-- The sample database of the demo: what a city's food inspectors work with. An ordinary SQLite
-- database as a team might have it; nothing in it knows of Afield.

CREATE TABLE district (
  code TEXT NOT NULL PRIMARY KEY,             -- natural identifier: 'N1'
  name TEXT NOT NULL UNIQUE
);

-- Who works where: `login` is what the tokens of the app call the user.
CREATE TABLE district_member (
  login       TEXT NOT NULL,
  district    TEXT NOT NULL REFERENCES district (code),
  PRIMARY KEY (login, district)
);

CREATE TABLE inspector (
  id          INTEGER PRIMARY KEY,            -- the badge number
  name        TEXT NOT NULL,
  district    TEXT NOT NULL REFERENCES district (code),
  phone       TEXT
);

CREATE TABLE business (
  id          UUID NOT NULL PRIMARY KEY,
  name        TEXT NOT NULL,
  kind        TEXT NOT NULL,
  street      TEXT NOT NULL,
  city        TEXT NOT NULL,
  district    TEXT NOT NULL REFERENCES district (code),
  latitude    REAL,
  longitude   REAL,
  seats       INTEGER CHECK (seats >= 0),
  licensed_on DATE,
  is_open     BOOLEAN NOT NULL DEFAULT 1
);
CREATE INDEX business_district ON business (district, id);

CREATE TABLE contact (
  id          UUID NOT NULL PRIMARY KEY,
  business_id UUID NOT NULL REFERENCES business (id) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  role        TEXT,
  phone       TEXT,
  email       TEXT
);
CREATE INDEX contact_business ON contact (business_id, id);

CREATE TABLE inspection (
  id           UUID NOT NULL PRIMARY KEY,
  business_id  UUID NOT NULL REFERENCES business (id) ON DELETE CASCADE,
  inspector_id INTEGER NOT NULL REFERENCES inspector (id),
  kind         TEXT NOT NULL,
  planned_for  DATE NOT NULL,
  finished_at  TIMESTAMP,
  result       TEXT CHECK (result IN ('pass', 'pass with conditions', 'fail')),
  score        INTEGER CHECK (score BETWEEN 0 AND 100),
  notes        TEXT
);
CREATE INDEX inspection_business ON inspection (business_id, id);
CREATE INDEX inspection_planned ON inspection (inspector_id, planned_for);

CREATE TABLE violation (
  inspection_id UUID NOT NULL REFERENCES inspection (id) ON DELETE CASCADE,
  number        INTEGER NOT NULL,             -- 1, 2, … within the inspection
  code          TEXT NOT NULL,
  severity      TEXT NOT NULL CHECK (severity IN ('minor', 'major', 'critical')),
  comment       TEXT,
  fixed         BOOLEAN NOT NULL DEFAULT 0,
  PRIMARY KEY (inspection_id, number)
);
