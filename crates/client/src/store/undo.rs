//! Undo: taking back a transaction of which nothing has left the device.
//!
//! ```text
//!   pending ──undo─► dropped   the rows are as they would be without it
//! ```
//!
//! What was sent cannot be taken back, whatever became of it: the request may have arrived. What
//! was sent under a former id and is pending again did not take effect under that one, so it can.

use afield_protocol::{Closing, Code, GroupId, Op, zoo};
use rusqlite::{OptionalExtension, params};

use super::conflict::Parked;
use super::db::{Db, Loaded};
use super::status::change_name;
use super::{decide, inbox, left, rebase};
use crate::error::Error;

/// Takes the transaction of a change back. Gives the names of its changes.
pub(super) fn undo(db: &mut Db, name: &str) -> Result<Vec<String>, Error> {
    let loaded = db.loaded()?;
    let (group, absorbed) = unsent(db, name)?;
    let mates = Parked::of_unsent(db, group)?;
    nothing_depends(db, &loaded, group, &mates)?;
    decide::drop_group(db, &loaded, group, &mates)?;
    // The server may not have heard yet that it was to go again.
    for former in absorbed.as_chunks::<16>().0 {
        inbox::closed_as(db, GroupId(*former), Closing::Dropped)?;
    }
    db.crash_point("undo")?;
    Ok(mates.iter().map(Parked::name).collect())
}

/// The group of a change, if nothing of it has left the device: its place in the outbox, and the
/// ids in whose place it stands.
fn unsent(db: &Db, name: &str) -> Result<(i64, Vec<u8>), Error> {
    let (id, at) = decide::parts(name)?;
    let sql = "SELECT g.n, g.state, g.absorbed FROM afield_group AS g \
               JOIN afield_change AS c ON c.group_n = g.n WHERE g.id = ?1 AND c.at = ?2";
    let found: Option<(i64, String, Vec<u8>)> = db
        .conn
        .prepare_cached(sql)?
        .query_row(params![id.0, at], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((n, state, absorbed)) = found else {
        return Err(match decide::successor(db, id)? {
            Some(now) => {
                let message = format!(
                    "{name} is part of {} since, with what was written later: `undo` of that one \
                     takes both back",
                    change_name(&now, 0)
                );
                Error::new(Code::UNKNOWN_CHANGE, message)
            }
            None => decide::unknown(name),
        });
    };
    let (code, why) = match state.as_str() {
        "pending" if left::has_left(db, n)? => (
            Code::ALREADY_SENT,
            "is in a file that was exported or imported, and may be sent from there: write the row \
             again, which is a change of its own",
        ),
        "pending" => return Ok((n, absorbed)),
        "sent" if zoo::planted("undo-of-sent") => {
            let sql = "UPDATE afield_group SET state = 'pending' WHERE n = ?1";
            db.conn.execute(sql, [n])?;
            return Ok((n, absorbed));
        }
        "sent" => (
            Code::ALREADY_SENT,
            "is on its way, and may have arrived: write the row again, which is a change of its \
             own",
        ),
        "settled" => (
            Code::ALREADY_SENT,
            "was applied on the server: write the row again, which is a change of its own",
        ),
        "parked" => (
            Code::ALREADY_SENT,
            "was sent and not applied: `drop` gives it up, `resolve` decides a conflict",
        ),
        _ => (Code::ALREADY_DECIDED, "was given up before"),
    };
    Err(Error::new(code, format!("{name} {why}")))
}

/// Refuses if changes of other transactions depend on a row that this one makes.
fn nothing_depends(db: &Db, loaded: &Loaded, group: i64, mates: &[Parked]) -> Result<(), Error> {
    for made in mates.iter().filter(|mate| mate.op == Op::Create) {
        let mut found = rebase::dependants(db, loaded, made)?;
        found.remove(&group);
        if let Some(later) = found.values().flatten().next() {
            let message = format!(
                "{} depends on the row that {} makes: take that one back first",
                decide::name_of(db, later.n)?,
                made.name()
            );
            return Err(Error::new(Code::WAITS_FOR, message));
        }
    }
    Ok(())
}
