//! A model that could not be installed: the old one stays, and the store remembers why.

use afield_protocol::Code;
use rusqlite::{OptionalExtension, params};

use super::db::Db;
use super::sync_store::SyncStore;
use crate::error::Error;

/// A newer model of the server's that this store could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeFailed {
    /// The fingerprint of that model; `unreadable` if it could not even be read.
    pub model: String,
    /// The stable code of the cause.
    pub code: Code,
    /// The cause, for a person.
    pub message: String,
}

/// The newest upgrade that failed, unless one succeeded since.
pub(super) fn failed(db: &Db) -> Result<Option<UpgradeFailed>, Error> {
    let sql = "SELECT upgrade_model, upgrade_code, upgrade_message FROM afield_meta \
               WHERE upgrade_code IS NOT NULL";
    let mut statement = db.conn.prepare_cached(sql)?;
    let found = statement.query_row([], |row| {
        let code: String = row.get(1)?;
        Ok(UpgradeFailed {
            model: row.get(0)?,
            code: Code::parse(&code),
            message: row.get(2)?,
        })
    });
    Ok(found.optional()?)
}

/// Forgets it, in the transaction that is open: there is nothing newer to take any more.
pub(super) fn forget(db: &Db) -> Result<(), Error> {
    let sql = "UPDATE afield_meta SET upgrade_model = NULL, upgrade_code = NULL, \
               upgrade_message = NULL, upgrade_told = 0 WHERE upgrade_code IS NOT NULL";
    db.conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

impl SyncStore {
    /// Notes that the model with this fingerprint could not be installed, and why. The server is
    /// told once of each model and cause.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_upgrade_failed(&mut self, failed: &UpgradeFailed) -> Result<(), Error> {
        self.db.write("upgrade-failed", |db| {
            let sql = "UPDATE afield_meta SET upgrade_told = upgrade_told \
                       AND upgrade_model IS ?1 AND upgrade_code IS ?2, \
                       upgrade_model = ?1, upgrade_code = ?2, upgrade_message = ?3";
            let values = params![failed.model, failed.code.as_str(), failed.message];
            db.conn.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
    }

    /// The newest upgrade that failed and that the server was not told of.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn upgrade_to_tell(&self) -> Result<Option<UpgradeFailed>, Error> {
        let sql = "SELECT upgrade_told FROM afield_meta";
        let is_told: bool = self.db.conn.query_row(sql, [], |row| row.get(0))?;
        Ok(failed(&self.db)?.filter(|_| !is_told))
    }

    /// Notes that the server was told.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn upgrade_told(&mut self) -> Result<(), Error> {
        self.db.write("upgrade-told", |db| {
            let sql = "UPDATE afield_meta SET upgrade_told = 1";
            db.conn.prepare_cached(sql)?.execute([])?;
            Ok(())
        })
    }
}
