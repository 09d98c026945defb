-- everything of Afield's is in this schema
CREATE SCHEMA afield;
COMMENT ON SCHEMA afield IS 'Change capture of Afield; `afield prepare --remove` takes it away';

-- which database this is, and how far back its marks are whole
CREATE TABLE afield.node (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  schema_version integer NOT NULL,
  incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
  system_identifier bigint NOT NULL,
  database oid NOT NULL,
  itself oid NOT NULL,
  horizon xid8 NOT NULL DEFAULT '0',
  ledger_horizon xid8 NOT NULL DEFAULT '0',
  code_key bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid())
    || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
  made timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE afield.node IS 'One row: this database';
COMMENT ON COLUMN afield.node.one IS 'There is one row';
COMMENT ON COLUMN afield.node.schema_version IS 'Version of these tables';
COMMENT ON COLUMN afield.node.incarnation IS 'Random; another one when the database is a copy';
COMMENT ON COLUMN afield.node.system_identifier IS 'The cluster in which it was made';
COMMENT ON COLUMN afield.node.database IS 'The database in which it was made';
COMMENT ON COLUMN afield.node.itself IS 'This table, as it was made: a restored one has another oid';
COMMENT ON COLUMN afield.node.horizon IS 'Marks of transactions from this one on are whole';
COMMENT ON COLUMN afield.node.ledger_horizon IS 'The ledger knows the groups of transactions from this one on';
COMMENT ON COLUMN afield.node.code_key IS 'What positions are sealed with';
COMMENT ON COLUMN afield.node.made IS 'When, for people';

-- the tables that are captured
CREATE TABLE afield.capture (
  id integer PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('rows', 'source', 'table')),
  relation oid NOT NULL,
  table_name text NOT NULL,
  key_columns text[] NOT NULL,
  scope_columns text[] NOT NULL,
  scope_types text[] NOT NULL,
  scope_equals text[] NOT NULL,
  watched text[] NOT NULL,
  definition text NOT NULL,
  fingerprint text[]
);
COMMENT ON TABLE afield.capture IS 'One row for each captured table and purpose';
COMMENT ON COLUMN afield.capture.id IS 'Names its objects: mark_1, row_1, afield_1_insert …';
COMMENT ON COLUMN afield.capture.kind IS 'What a mark says: this row was touched (rows); something changed in it that others show (source); the table was touched (table)';
COMMENT ON COLUMN afield.capture.relation IS 'The captured table';
COMMENT ON COLUMN afield.capture.table_name IS 'Its name when it was captured, for people';
COMMENT ON COLUMN afield.capture.key_columns IS 'Its columns that key1, key2 … of a mark come from';
COMMENT ON COLUMN afield.capture.scope_columns IS 'Its columns that scope1, scope2 … come from';
COMMENT ON COLUMN afield.capture.scope_types IS 'The types of scope1, scope2 …';
COMMENT ON COLUMN afield.capture.scope_equals IS 'The operators by which their values are equal';
COMMENT ON COLUMN afield.capture.watched IS 'Its columns whose changes are marked';
COMMENT ON COLUMN afield.capture.definition IS 'A hash of how its objects were made';
COMMENT ON COLUMN afield.capture.fingerprint IS 'Its triggers and columns as they were last seen';

-- from when on a table's marks are whole: older checkpoints load it again
CREATE TABLE afield.reset (
  capture integer NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  why text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX reset_capture_xid ON afield.reset (capture, xid);
COMMENT ON TABLE afield.reset IS 'A checkpoint that does not see one of these loads the table again';
COMMENT ON COLUMN afield.reset.capture IS 'Whose marks were not whole before';
COMMENT ON COLUMN afield.reset.xid IS 'The transaction that noted it';
COMMENT ON COLUMN afield.reset.why IS 'For people';
COMMENT ON COLUMN afield.reset.at IS 'When, for people';

-- how far the database had come, and when
CREATE TABLE afield.beacon (
  at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
  lsn pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn(),
  snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot()
);
COMMENT ON TABLE afield.beacon IS 'Signs of life: what is older than the retention is told by these';
COMMENT ON COLUMN afield.beacon.at IS 'When';
COMMENT ON COLUMN afield.beacon.lsn IS 'The end of the log then';
COMMENT ON COLUMN afield.beacon.snapshot IS 'The transactions that were visible then';

-- each start of the database: what devices were told in one of them is told apart from what they
-- were told in a copy or a fork of it
CREATE TABLE afield.epoch (
  number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  epoch bytea NOT NULL UNIQUE DEFAULT substring(uuid_send(gen_random_uuid()) FROM 1 FOR 6)
    || substring(uuid_send(gen_random_uuid()) FROM 1 FOR 2),
  incarnation uuid NOT NULL,
  timeline text NOT NULL,
  started timestamptz NOT NULL,
  beacon_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  beacon pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE afield.epoch IS 'Unbroken histories, the newest last: an entry for each start of the database';
COMMENT ON COLUMN afield.epoch.number IS 'Their order';
COMMENT ON COLUMN afield.epoch.epoch IS 'Random; what positions name';
COMMENT ON COLUMN afield.epoch.incarnation IS 'Of the database, as afield.node had it';
COMMENT ON COLUMN afield.epoch.timeline IS 'Of its log';
COMMENT ON COLUMN afield.epoch.started IS 'When the database was started';
COMMENT ON COLUMN afield.epoch.beacon_xid IS 'The transaction that last wrote this row';
COMMENT ON COLUMN afield.epoch.beacon IS 'The transactions that were visible to it: what devices were told beyond these, another history may not contain';
COMMENT ON COLUMN afield.epoch.at IS 'When that was, for people';

-- what became of the groups that devices sent
CREATE TABLE afield.ledger (
  user_name text COLLATE "C" NOT NULL,
  group_id bytea NOT NULL,
  hash bytea,
  verdicts bytea,
  applied boolean NOT NULL,
  absorbed_by bytea,
  at bigint NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (user_name, group_id)
);
CREATE INDEX ledger_xid ON afield.ledger (xid);
COMMENT ON TABLE afield.ledger IS 'One row for each group: a repeat takes no effect and gets the same answer';
COMMENT ON COLUMN afield.ledger.user_name IS 'Who sent it';
COMMENT ON COLUMN afield.ledger.group_id IS 'Its id, made by the device';
COMMENT ON COLUMN afield.ledger.hash IS 'Of what was sent; null if it came as a part of another group only';
COMMENT ON COLUMN afield.ledger.verdicts IS 'What became of each of its changes';
COMMENT ON COLUMN afield.ledger.applied IS 'Whether it took effect';
COMMENT ON COLUMN afield.ledger.absorbed_by IS 'The group as a part of which it took effect';
COMMENT ON COLUMN afield.ledger.at IS 'When, in seconds since 1970';
COMMENT ON COLUMN afield.ledger.xid IS 'The transaction that noted it';

-- the identifiers that rows got which devices made
CREATE TABLE afield.number (
  user_name text COLLATE "C" NOT NULL,
  group_id bytea NOT NULL,
  entity text COLLATE "C" NOT NULL,
  temporary bigint NOT NULL,
  number bigint NOT NULL,
  PRIMARY KEY (user_name, group_id, entity, temporary)
);
COMMENT ON TABLE afield.number IS 'One row for each row that a group created under a temporary identifier';
COMMENT ON COLUMN afield.number.user_name IS 'Who sent the group';
COMMENT ON COLUMN afield.number.group_id IS 'The group';
COMMENT ON COLUMN afield.number.entity IS 'Whose row it is';
COMMENT ON COLUMN afield.number.temporary IS 'Its identifier on the device';
COMMENT ON COLUMN afield.number.number IS 'Its identifier here';

-- groups that come in pieces, until they are whole
CREATE TABLE afield.part (
  user_name text COLLATE "C" NOT NULL,
  group_id bytea NOT NULL,
  at_byte bigint NOT NULL,
  total bigint NOT NULL,
  bytes bytea NOT NULL,
  came bigint NOT NULL,
  PRIMARY KEY (user_name, group_id, at_byte)
);
COMMENT ON TABLE afield.part IS 'One row for each piece of a group that is not whole yet';
COMMENT ON COLUMN afield.part.user_name IS 'Who sends it';
COMMENT ON COLUMN afield.part.group_id IS 'The group';
COMMENT ON COLUMN afield.part.at_byte IS 'Where the piece begins';
COMMENT ON COLUMN afield.part.total IS 'How many bytes the group has';
COMMENT ON COLUMN afield.part.bytes IS 'The piece';
COMMENT ON COLUMN afield.part.came IS 'When a piece of the group last came, in seconds since 1970';

-- refused groups: what somebody may decide about, and what was decided
CREATE TABLE afield.inbox_group (
  user_name text COLLATE "C" NOT NULL,
  group_id bytea NOT NULL,
  n bigint NOT NULL,
  device text NOT NULL,
  claims text NOT NULL,
  content bytea,
  at bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('open', 'decided', 'closed')),
  decision text,
  decided_by text,
  decided_at bigint,
  into_id bytea,
  answer bytea,
  told boolean NOT NULL DEFAULT false,
  PRIMARY KEY (user_name, group_id)
);
COMMENT ON TABLE afield.inbox_group IS 'One row for each group that was refused';
COMMENT ON COLUMN afield.inbox_group.user_name IS 'Who sent it';
COMMENT ON COLUMN afield.inbox_group.group_id IS 'Its id, made by the device';
COMMENT ON COLUMN afield.inbox_group.n IS 'The number of its first entry in afield.inbox';
COMMENT ON COLUMN afield.inbox_group.device IS 'The device that sent it, as it called itself';
COMMENT ON COLUMN afield.inbox_group.claims IS 'What the token of the user claimed, in JSON';
COMMENT ON COLUMN afield.inbox_group.content IS 'The group as it was sent; null if it is too large';
COMMENT ON COLUMN afield.inbox_group.at IS 'When, in seconds since 1970';
COMMENT ON COLUMN afield.inbox_group.state IS 'open; decided (here) or closed (on the device)';
COMMENT ON COLUMN afield.inbox_group.decision IS 'mine, theirs, set, merged, sent-again or dropped';
COMMENT ON COLUMN afield.inbox_group.decided_by IS 'Who decided here';
COMMENT ON COLUMN afield.inbox_group.decided_at IS 'When that was, or the device told of it';
COMMENT ON COLUMN afield.inbox_group.into_id IS 'The group that was applied in its place';
COMMENT ON COLUMN afield.inbox_group.answer IS 'What the device is told of its changes';
COMMENT ON COLUMN afield.inbox_group.told IS 'Whether the device has stored what was decided here';

-- their changes, for people
CREATE TABLE afield.inbox (
  n bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  user_name text COLLATE "C" NOT NULL,
  group_id bytea NOT NULL,
  at_place integer NOT NULL,
  entity text COLLATE "C" NOT NULL,
  key text NOT NULL,
  op text NOT NULL,
  result text NOT NULL,
  code text,
  attribute text,
  message text,
  base text,
  mine text,
  theirs text,
  UNIQUE (user_name, group_id, at_place)
);
COMMENT ON TABLE afield.inbox IS 'One row for each change of a group that was refused';
COMMENT ON COLUMN afield.inbox.n IS 'Its number';
COMMENT ON COLUMN afield.inbox.user_name IS 'Who sent it';
COMMENT ON COLUMN afield.inbox.group_id IS 'Its group';
COMMENT ON COLUMN afield.inbox.at_place IS 'Its place in the group';
COMMENT ON COLUMN afield.inbox.entity IS 'The local entity';
COMMENT ON COLUMN afield.inbox.key IS 'The identifier as the device had it, in JSON';
COMMENT ON COLUMN afield.inbox.op IS 'create, update or delete';
COMMENT ON COLUMN afield.inbox.result IS 'conflict or rejected; applied: it was not, because of its group';
COMMENT ON COLUMN afield.inbox.code IS 'Why';
COMMENT ON COLUMN afield.inbox.attribute IS 'The attribute that the code speaks of';
COMMENT ON COLUMN afield.inbox.message IS 'For people';
COMMENT ON COLUMN afield.inbox.base IS 'The row as the user saw it, in JSON; null if it is too large';
COMMENT ON COLUMN afield.inbox.mine IS 'What he set, likewise';
COMMENT ON COLUMN afield.inbox.theirs IS 'The row as he was told of it; null if he was told of none';

-- what apps on devices said, for people
CREATE TABLE afield.device_log (
  n bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  user_name text COLLATE "C" NOT NULL,
  entry_id bytea NOT NULL,
  device text NOT NULL,
  at_ms bigint NOT NULL,
  came bigint NOT NULL,
  level text NOT NULL,
  module text NOT NULL,
  message text NOT NULL,
  dropped bigint NOT NULL,
  UNIQUE (user_name, entry_id)
);
CREATE INDEX device_log_came ON afield.device_log (user_name, came);
COMMENT ON TABLE afield.device_log IS 'One row for each entry of the log of a device';
COMMENT ON COLUMN afield.device_log.n IS 'Its number, in the order in which they came';
COMMENT ON COLUMN afield.device_log.user_name IS 'Whose device sent it';
COMMENT ON COLUMN afield.device_log.entry_id IS 'Random, made by the device: it is kept once';
COMMENT ON COLUMN afield.device_log.device IS 'The device, as it calls itself';
COMMENT ON COLUMN afield.device_log.at_ms IS 'When it was written, by the clock of the device, in milliseconds since 1970';
COMMENT ON COLUMN afield.device_log.came IS 'When it came, in seconds since 1970';
COMMENT ON COLUMN afield.device_log.level IS 'debug, info, warn or error';
COMMENT ON COLUMN afield.device_log.module IS 'The part of the app that it is about';
COMMENT ON COLUMN afield.device_log.message IS 'What happened';
COMMENT ON COLUMN afield.device_log.dropped IS 'Entries that were dropped in its place; 0 if it tells of none';

-- everything whose change could open a hole in the capture, one line for each thing. The xmin of a
-- trigger tells that it was switched off although it is on again; a file node tells a rewrite, and
-- a partition emptied by itself.
CREATE FUNCTION afield.fingerprint(c afield.capture) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $afield$
  WITH part AS (
    SELECT c.relation AS oid
    UNION SELECT relid::oid FROM pg_partition_tree(c.relation::regclass)
  ), line AS (
    SELECT concat_ws(' ', r.oid, 'file', r.relfilenode, r.relpersistence, r.relkind) AS text
    FROM pg_class r WHERE r.oid IN (SELECT oid FROM part)
    UNION ALL
    SELECT concat_ws(' ', t.tgrelid, 'trigger', t.tgname, t.oid, t.tgenabled, t.xmin, f.oid, f.xmin)
    FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
    WHERE t.tgrelid IN (SELECT oid FROM part)
      AND f.pronamespace = 'afield'::regnamespace
      AND f.proname IN ('row_' || c.id, 'statement_' || c.id, 'truncate_' || c.id)
    UNION ALL
    SELECT concat_ws(' ', a.attrelid, 'column', a.attname, a.attnum, a.atttypid, a.attcollation,
      a.attgenerated)
    FROM pg_attribute a
    WHERE a.attrelid = c.relation AND a.attname = ANY (c.watched) AND NOT a.attisdropped
    UNION ALL
    SELECT concat_ws(' ', a.attrelid, 'words', a.attname, (
      SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
      FROM pg_enum e WHERE e.enumtypid = a.atttypid))
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid AND y.typtype = 'e'
    WHERE a.attrelid = c.relation AND NOT a.attisdropped
      AND a.attname = ANY (c.key_columns || c.scope_columns)
    UNION ALL
    SELECT concat_ws(' ', i.inhparent, 'heir', i.inhrelid)
    FROM pg_inherits i JOIN pg_class r ON r.oid = i.inhparent AND r.relkind = 'r'
    WHERE i.inhparent = c.relation
  )
  SELECT coalesce(array_agg(text ORDER BY text COLLATE "C"), '{}') FROM line
$afield$;

-- compares what is there with what was last seen, and notes a reset where it differs. A new
-- partition without a single page holds nothing that could have gone unmarked.
CREATE FUNCTION afield.check_capture(OUT changed integer, OUT difference text) RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $afield$
DECLARE
  c afield.capture;
  seen text[];
BEGIN
  FOR c IN SELECT * FROM afield.capture ORDER BY id LOOP
    seen := afield.fingerprint(c);
    CONTINUE WHEN seen IS NOT DISTINCT FROM c.fingerprint;
    UPDATE afield.capture u SET fingerprint = seen
    WHERE u.id = c.id AND u.fingerprint IS NOT DISTINCT FROM c.fingerprint;
    CONTINUE WHEN NOT FOUND;
    SELECT c.id, string_agg(d.text, '; ' ORDER BY d.text) INTO changed, difference FROM (
      SELECT 'new: ' || n.text AS text FROM unnest(seen) n (text)
      WHERE n.text <> ALL (coalesce(c.fingerprint, '{}')) AND NOT (
        split_part(n.text, ' ', 1) <> ALL (
          SELECT split_part(o.text, ' ', 1) FROM unnest(c.fingerprint) o (text))
        AND split_part(n.text, ' ', 1) <> c.relation::text
        AND pg_relation_size(split_part(n.text, ' ', 1)::oid::regclass) IS NOT DISTINCT FROM 0
        AND split_part(n.text, ' ', 2) IN ('file', 'trigger'))
      UNION ALL
      SELECT 'gone: ' || o.text FROM unnest(c.fingerprint) o (text) WHERE o.text <> ALL (seen)
    ) d;
    CONTINUE WHEN difference IS NULL;
    INSERT INTO afield.reset (capture, why) VALUES (c.id, difference);
    RETURN NEXT;
  END LOOP;
END
$afield$;

-- the row that says which database this is
INSERT INTO afield.node (schema_version, system_identifier, database, itself)
SELECT 3, s.system_identifier, d.oid, 'afield.node'::regclass
FROM pg_control_system() s, pg_database d WHERE d.datname = current_database();
