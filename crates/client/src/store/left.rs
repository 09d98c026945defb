//! Which groups are in a file, too: somebody else may send them at any time, so that they cannot
//! be taken back here without a word.

use rusqlite::params;

use super::db::Db;
use crate::error::Error;

/// Which way a group went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Exported,
    Imported,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Imported => "imported",
        }
    }
}

/// Group `g` of a statement, or one in whose place it stands, came with a file.
pub(super) const IMPORTED: &str = "EXISTS (SELECT 1 FROM afield_left AS l \
     WHERE l.how = 'imported' AND (l.id = g.id OR instr(g.absorbed, l.id) > 0))";

/// Notes that the group of this id is in a file; the first that is noted stays.
pub(super) fn note(db: &mut Db, id: [u8; 16], way: Way) -> Result<(), Error> {
    let now = db.env.now_ms();
    let sql = "INSERT INTO afield_left (id, how, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let values = params![id, way.as_str(), now];
    db.conn.prepare_cached(sql)?.execute(values)?;
    db.crash_point("left-noted")
}

/// Whether a group of the outbox, or one in whose place it stands, is in a file.
pub(super) fn has_left(db: &Db, group: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM afield_group AS g JOIN afield_left AS l \
               ON l.id = g.id OR instr(g.absorbed, l.id) > 0 WHERE g.n = ?1";
    Ok(db.conn.prepare_cached(sql)?.exists([group])?)
}
