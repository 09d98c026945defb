-- Which values of their scopes the user holds, as far as the tables have their rows. Each is a
-- number that the server made of the value.
CREATE TABLE afield_held (
  entity TEXT NOT NULL,     -- the local entity
  value  INTEGER NOT NULL,  -- a value whose rows the table has
  PRIMARY KEY (entity, value)
) WITHOUT ROWID;

-- What changes in that with the pages that are staged.
CREATE TABLE afield_held_staged (
  entity TEXT NOT NULL,             -- the local entity
  value  INTEGER NOT NULL,          -- the value
  lost   INTEGER NOT NULL,          -- 1: lost in between; what it brought before counts no more
  gained INTEGER NOT NULL,          -- 1: held in the end
  PRIMARY KEY (entity, value)
) WITHOUT ROWID;
