//! Whether the user of a store has logged out. Several people may use one device, each with a store
//! of his own: who has logged out must sign in before his is opened again.

use afield_protocol::Code;

use super::db::Db;
use crate::error::Error;

/// What becomes of changes that are not settled when their user logs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsent {
    /// He stays, and is told how many there are.
    #[default]
    Refuse,
    /// They stay in his store, and are sent when he is back.
    Keep,
    /// He gives them up.
    Discard,
}

/// Logs the user out, unless changes are in the way; gives how many are not settled. Runs in one
/// transaction with the look at them: what is written until then is seen, what comes later comes
/// into a store that is logged out, and stays there.
pub(super) fn log_out(db: &mut Db, unsent: Unsent) -> Result<u64, Error> {
    let sql = "SELECT count(*) FILTER (WHERE g.state <> 'parked'), \
               count(*) FILTER (WHERE g.state = 'parked') FROM afield_group AS g \
               JOIN afield_change AS c ON c.group_n = g.n \
               WHERE g.state IN ('pending', 'sent', 'parked')";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (waiting, parked): (i64, i64) = db.conn.query_row(sql, [], row)?;
    if unsent == Unsent::Refuse && waiting + parked > 0 {
        let message = format!(
            "{} of this user on this device: {waiting} to be sent, {parked} to be decided about; \
             synchronise and decide first, export them to a file, or say what becomes of them",
            match waiting + parked {
                1 => "1 change is not settled".to_owned(),
                n => format!("{n} changes are not settled"),
            }
        );
        return Err(Error::new(Code::UNSENT_WORK, message));
    }
    db.conn
        .execute("UPDATE afield_session SET signed_out = 1", [])?;
    Ok((waiting + parked).unsigned_abs())
}

/// Whether the user has logged out.
pub(super) fn is_signed_out(db: &Db) -> Result<bool, Error> {
    let sql = "SELECT signed_out FROM afield_session";
    Ok(db.conn.query_row(sql, [], |row| row.get(0))?)
}

/// The user has signed in.
pub(super) fn sign_in(db: &Db) -> Result<(), Error> {
    let sql = "UPDATE afield_session SET signed_out = 0 WHERE signed_out <> 0";
    db.conn.execute(sql, [])?;
    Ok(())
}
