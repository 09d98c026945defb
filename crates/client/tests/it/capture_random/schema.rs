//! The entities that random statements write, and what an app may have put beside them.

use afield::protocol::{Identifier, Literal, Model, Pattern, Type};

use crate::world::{entity, model, refer};

/// Every kind of identifier, written; and one entity each that is not written or not sent.
pub(super) fn entities() -> Model {
    use Identifier::{Natural, Server, Uuid};
    use Pattern::{LastWriteWins, LocalOnly, ReadOnlyOptimized};
    let note = [
        ("id", Type::Text),
        ("a", Type::Text),
        ("b", Type::Integer),
        ("c", Type::Real),
    ];
    let note = entity("note", LastWriteWins, Natural, 1, &note);
    let visit = [
        ("n", Type::Integer),
        ("title", Type::Text),
        ("done", Type::Boolean),
        ("note_id", Type::Text),
    ];
    let mut visit = entity("visit", LastWriteWins, Natural, 1, &visit);
    visit.attributes[2].default = Some(Literal::Integer(0));
    refer(&mut visit, &["note_id"], "note");
    let cell = [
        ("row", Type::Integer),
        ("col", Type::Text),
        ("v", Type::Text),
        ("w", Type::Integer),
    ];
    let cell = entity("cell", LastWriteWins, Natural, 2, &cell);
    let item = [
        ("id", Type::Uuid),
        ("name", Type::Text),
        ("qty", Type::Integer),
    ];
    let item = entity("item", LastWriteWins, Uuid, 1, &item);
    let tag = entity("tag", LastWriteWins, Natural, 1, &[("word", Type::Text)]);
    let draft = [("id", Type::Text), ("a", Type::Text)];
    let draft = entity("draft", LocalOnly, Natural, 1, &draft);
    let fixed = [("id", Type::Text), ("a", Type::Text)];
    let fixed = entity("fixed", ReadOnlyOptimized, Natural, 1, &fixed);
    let job = [
        ("job", Type::Integer),
        ("title", Type::Text),
        ("note_id", Type::Text),
    ];
    let mut job = entity("job", LastWriteWins, Server, 1, &job);
    refer(&mut job, &["note_id"], "note");
    let task = [
        ("id", Type::Text),
        ("job", Type::Integer),
        ("a", Type::Text),
    ];
    let mut task = entity("task", LastWriteWins, Natural, 1, &task);
    refer(&mut task, &["job"], "job");
    let part = [
        ("job", Type::Integer),
        ("no", Type::Integer),
        ("v", Type::Text),
    ];
    let mut part = entity("part", LastWriteWins, Natural, 2, &part);
    refer(&mut part, &["job"], "job");
    let entities = vec![visit, note, cell, item, tag, part, task, job, draft, fixed];
    model(entities)
}

/// The attribute that holds identifiers which the server makes, in whichever entity.
pub(super) const NUMBERED: &str = "job";

/// The attribute that has a default on the device: the server has the same.
pub(super) const DEFAULTED: (&str, &str) = ("visit", "done");

/// What an app may have made in the same file: a full-text index, a shadow table, a view that
/// can be written, triggers that write, skip, undo and refuse.
pub(super) const APP: &str = "
CREATE VIRTUAL TABLE note_fts USING fts5 (id UNINDEXED, a);
CREATE TRIGGER note_fts_i AFTER INSERT ON note BEGIN
  INSERT INTO note_fts (id, a) VALUES (NEW.id, NEW.a); END;
CREATE TRIGGER note_fts_u AFTER UPDATE OF a ON note BEGIN
  DELETE FROM note_fts WHERE id = OLD.id; INSERT INTO note_fts (id, a) VALUES (NEW.id, NEW.a); END;
CREATE TRIGGER note_fts_d AFTER DELETE ON note BEGIN
  DELETE FROM note_fts WHERE id = OLD.id; END;
CREATE TABLE note_shadow (id TEXT PRIMARY KEY, n INTEGER);
CREATE TRIGGER note_shadow_i BEFORE INSERT ON note BEGIN
  INSERT OR REPLACE INTO note_shadow VALUES (NEW.id, 1); END;
CREATE VIEW note_view AS SELECT n.id, n.a, v.n FROM note AS n LEFT JOIN visit AS v
  ON v.note_id = n.id;
CREATE TRIGGER note_view_i INSTEAD OF INSERT ON note_view BEGIN
  INSERT INTO note (id, a) VALUES (NEW.id, NEW.a) ON CONFLICT (id) DO UPDATE SET a = NEW.a;
  INSERT OR IGNORE INTO visit (n, note_id) VALUES (NEW.n, NEW.id); END;
CREATE TRIGGER note_view_u INSTEAD OF UPDATE ON note_view BEGIN
  UPDATE note SET a = NEW.a WHERE id = OLD.id; END;
CREATE TRIGGER note_view_d INSTEAD OF DELETE ON note_view BEGIN
  DELETE FROM visit WHERE note_id = OLD.id; DELETE FROM note WHERE id = OLD.id; END;
CREATE TRIGGER note_to_visit AFTER UPDATE OF a ON note WHEN NEW.b > 3 BEGIN
  UPDATE visit SET title = NEW.a WHERE note_id = NEW.id; END;
CREATE TRIGGER note_cascade BEFORE DELETE ON note WHEN OLD.b = 4 BEGIN
  DELETE FROM visit WHERE note_id = OLD.id; REPLACE INTO tag VALUES (OLD.id); END;
CREATE TRIGGER tag_skip BEFORE INSERT ON tag WHEN NEW.word = 'w3' BEGIN
  SELECT RAISE(IGNORE); END;
CREATE TRIGGER cell_fix AFTER INSERT ON cell WHEN NEW.w = 4 BEGIN
  UPDATE cell SET w = 5 WHERE row = NEW.row AND col = NEW.col; END;
CREATE TRIGGER job_fix AFTER INSERT ON job WHEN NEW.title = 'q' BEGIN
  UPDATE job SET title = 'fixed' WHERE job = NEW.job;
  INSERT OR IGNORE INTO part VALUES (NEW.job, 1, 'made'); END;
CREATE TRIGGER job_undo AFTER INSERT ON job WHEN NEW.title = '' BEGIN
  DELETE FROM job WHERE job = NEW.job; END;
CREATE TRIGGER job_skip BEFORE INSERT ON job WHEN NEW.title = 'r' AND NEW.job < 0 BEGIN
  SELECT RAISE(IGNORE); END;
CREATE TRIGGER item_undo AFTER INSERT ON item WHEN NEW.qty = 4 BEGIN
  DELETE FROM item WHERE id = NEW.id; END;
CREATE TRIGGER item_fail AFTER UPDATE ON item WHEN NEW.qty = 5 BEGIN
  SELECT RAISE(FAIL, 'the app says no'); END;
CREATE TRIGGER item_rollback AFTER DELETE ON item WHEN OLD.qty = 3 BEGIN
  SELECT RAISE(ROLLBACK, 'the app says never'); END;
";

/// Triggers that one connection has for itself.
pub(super) const TEMPORARY: &str = "
CREATE TEMP TRIGGER tag_more AFTER INSERT ON main.tag WHEN length(NEW.word) < 4 BEGIN
  INSERT OR IGNORE INTO tag VALUES (NEW.word || '-'); END;
CREATE TEMP TRIGGER cell_less BEFORE DELETE ON main.cell BEGIN
  UPDATE cell SET v = 'leaving' WHERE row = OLD.row AND col <> OLD.col; END;
";
