-- How far the server's history had come in answers that no later one stands for: one, unless syncs
-- of this store were answered side by side.
CREATE TABLE afield_told (
  checkpoint BLOB PRIMARY KEY               -- the server's token
) WITHOUT ROWID;
