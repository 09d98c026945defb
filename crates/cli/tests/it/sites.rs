//! Sites, their jobs and the steps of these, for tests of what becomes of changes when a server
//! forgets or is set back.

use crate::world::{World, rows};

/// Everything that is written to the server's tables, by whomever.
pub(crate) const AUDIT: &str = "
    CREATE TRIGGER a1 AFTER INSERT ON site BEGIN
      INSERT INTO audit (words) VALUES ('+' || NEW.id); END;
    CREATE TRIGGER a2 AFTER UPDATE ON site BEGIN
      INSERT INTO audit (words) VALUES (NEW.id || NEW.name || NEW.n); END;
    CREATE TRIGGER a3 AFTER DELETE ON site BEGIN
      INSERT INTO audit (words) VALUES ('-' || OLD.id); END;
    CREATE TRIGGER a4 AFTER INSERT ON job BEGIN
      INSERT INTO audit (words) VALUES ('+' || NEW.words); END;
    CREATE TRIGGER a5 AFTER UPDATE ON job BEGIN
      INSERT INTO audit (words) VALUES (NEW.words); END;
    CREATE TRIGGER a6 AFTER INSERT ON step BEGIN
      INSERT INTO audit (words) VALUES ('+' || NEW.words); END;
    CREATE TRIGGER a7 AFTER UPDATE ON step BEGIN
      INSERT INTO audit (words) VALUES (NEW.words); END;
";

pub(crate) const ENTITIES: &str = r#"
[local.site]
from = "site"
pattern = "last-write-wins"
attributes = ["name", "n"]
counter = ["n"]
scope = "everyone"
[local.job]
from = "job"
pattern = "detect-conflicts"
attributes = ["site", "words"]
id = "server"
scope = "everyone"
[local.step]
from = "step"
pattern = "last-write-wins"
attributes = ["words"]
scope = "everyone"
"#;

const TABLES: [&str; 3] = [
    "SELECT id, name, n FROM site ORDER BY id",
    "SELECT id, site, words FROM job ORDER BY id",
    "SELECT job, pos, words FROM step ORDER BY job, pos",
];

/// What the three tables hold, on either side.
pub(crate) fn tables(conn: &rusqlite::Connection) -> Vec<Vec<Vec<rusqlite::types::Value>>> {
    TABLES.iter().map(|sql| rows(conn, sql)).collect()
}

/// How often something was written to the server's tables.
pub(crate) fn times(world: &World, words: &str) -> i64 {
    let sql = "SELECT count(*) FROM audit WHERE words = ?1";
    let team = world.team();
    team.query_row(sql, [words], |row| row.get(0)).unwrap()
}
