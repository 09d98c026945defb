//! The server's checkpoint: how far its history had come when the device last heard from it.
//!
//! A group has the newest one from when it was made. So a server that forgets old entries of its
//! ledger can tell whether it would remember this group, had it taken effect.

use rusqlite::{Connection, params};

use super::db::Db;
use super::sync_store::SyncStore;
use crate::error::Error;

/// Columns that stores of earlier versions do not have: table, name and declaration.
const ADDED: [(&str, &str, &str); 7] = [
    ("afield_meta", "checkpoint", "BLOB NOT NULL DEFAULT x''"),
    ("afield_group", "checkpoint", "BLOB NOT NULL DEFAULT x''"),
    ("afield_entity", "unfetched", "TEXT NOT NULL DEFAULT ''"),
    ("afield_meta", "upgrade_model", "TEXT"),
    ("afield_meta", "upgrade_code", "TEXT"),
    ("afield_meta", "upgrade_message", "TEXT"),
    ("afield_meta", "upgrade_told", "INTEGER NOT NULL DEFAULT 0"),
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

/// Keeps a checkpoint, in the transaction that is open.
pub(super) fn keep(db: &Db, checkpoint: &[u8]) -> Result<(), Error> {
    if checkpoint.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE afield_meta SET checkpoint = ?1 WHERE checkpoint <> ?1";
    db.conn.prepare_cached(sql)?.execute(params![checkpoint])?;
    Ok(())
}

impl SyncStore {
    /// Notes the checkpoint of an answer. It is stored with the next outcomes, or with the end of
    /// the sync: until then what is made goes under the one before, which is as right.
    pub fn reached(&mut self, checkpoint: Vec<u8>) {
        self.checkpoint = checkpoint;
    }
}
