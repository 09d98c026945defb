//! The server's checkpoint: how far its history had come when the device last heard from it.
//!
//! A group has the newest one from when it was made. So a server that forgets old entries of its
//! ledger can tell whether it would remember this group, had it taken effect.

use afield_protocol::Checkpoint;
use rusqlite::Connection;

use super::db::Db;
use super::sync_store::SyncStore;
use crate::error::Error;

/// Columns that stores of earlier versions do not have: table, name and declaration.
const ADDED: [(&str, &str, &str); 10] = [
    ("afield_meta", "checkpoint", "BLOB NOT NULL DEFAULT x''"),
    ("afield_group", "checkpoint", "BLOB NOT NULL DEFAULT x''"),
    ("afield_entity", "doubted", "INTEGER NOT NULL DEFAULT 0"),
    ("afield_entity", "unfetched", "TEXT NOT NULL DEFAULT ''"),
    ("afield_meta", "upgrade_model", "TEXT"),
    ("afield_meta", "upgrade_code", "TEXT"),
    ("afield_meta", "upgrade_message", "TEXT"),
    ("afield_meta", "upgrade_told", "INTEGER NOT NULL DEFAULT 0"),
    ("afield_meta", "inbox", "INTEGER NOT NULL DEFAULT 0"),
    ("afield_meta", "logs", "INTEGER NOT NULL DEFAULT 0"),
];

/// Adds the columns to a store of a version that had none of them.
pub(super) fn add_columns(conn: &Connection) -> Result<(), Error> {
    let has = |table: &str, name: &str| -> rusqlite::Result<bool> {
        conn.prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2")?
            .exists([table, name])
    };
    for (table, name, declaration) in ADDED {
        if has(table, name)? {
            continue;
        }
        let kind = rusqlite::TransactionBehavior::Immediate;
        let transaction = rusqlite::Transaction::new_unchecked(conn, kind)?;
        if !has(table, name)? {
            let sql = format!("ALTER TABLE {table} ADD COLUMN {name} {declaration}");
            transaction.execute_batch(&sql)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Keeps a checkpoint, in the transaction that is open. It stands for those that its request told
/// the server, and not for those of other syncs that were answered meanwhile.
pub(super) fn keep(db: &Db, checkpoint: &[u8], told: &[Checkpoint]) -> Result<(), Error> {
    if checkpoint.is_empty() {
        return Ok(());
    }
    let sql = "INSERT OR IGNORE INTO afield_told (checkpoint) VALUES (?1)";
    db.conn.prepare_cached(sql)?.execute([checkpoint])?;
    let sql = "DELETE FROM afield_told WHERE checkpoint = ?1";
    for former in told.iter().filter(|former| *former != checkpoint) {
        db.conn.prepare_cached(sql)?.execute([former])?;
    }
    let sql = "UPDATE afield_meta SET checkpoint = ?1 WHERE checkpoint <> ?1";
    db.conn.prepare_cached(sql)?.execute([checkpoint])?;
    Ok(())
}

/// The checkpoints that say how far this device has come.
pub(super) fn told(db: &Db) -> Result<Vec<Checkpoint>, Error> {
    let sql = "SELECT checkpoint FROM afield_told ORDER BY checkpoint";
    let mut statement = db.conn.prepare_cached(sql)?;
    let told = statement.query_map([], |row| row.get(0))?;
    Ok(told.collect::<Result<_, _>>()?)
}

impl SyncStore {
    /// Notes the checkpoint of an answer. It is stored with the next outcomes, or with the end of
    /// the sync: until then what is made goes under the one before, which is as right.
    pub fn reached(&mut self, checkpoint: Vec<u8>) {
        self.checkpoint = checkpoint;
        self.stands_for.clone_from(&self.told);
    }
}
