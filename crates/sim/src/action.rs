//! What happens in a world, as data: a world is a list of actions and a seed for what they leave
//! open, so that a failing list can be shortened and played again.
//!
//! Actions name rows by a number that is taken modulo what is there: an action stays meaningful
//! when others before it are cut.

use std::fmt;

use crate::app;
use crate::team::TeamEdit;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// The app writes, in one transaction.
    User { device: usize, edits: Vec<Edit> },
    /// Another process writes into the device's file with plain SQL, in one transaction.
    OtherProcess { device: usize, edits: Vec<Edit> },
    /// Somebody writes into the server's database with plain SQL, in one transaction.
    Foreign { edits: Vec<Edit> },
    /// Somebody writes orders, lines and remarks, in one transaction.
    Orders { by: By, edits: Vec<OrderEdit> },
    /// The team changes who holds what, or rows that are not everyone's, in one transaction.
    Team { edits: Vec<TeamEdit> },
    /// The app opens a project, or closes it.
    Open {
        device: usize,
        project: u32,
        is_open: bool,
    },
    /// The user decides about a parked change of these.
    Decide {
        device: usize,
        pick: u32,
        decision: Decision,
        /// What a value that he types is made of.
        n: u32,
    },
    /// The user takes something back that was not sent.
    Undo { device: usize, pick: u32 },
    /// A sync begins.
    Start {
        device: usize,
        lane: usize,
        unit: Option<usize>,
        way: Way,
    },
    /// A running sync goes on.
    Step {
        device: usize,
        lane: usize,
        step: Step,
    },
    /// A sync from beginning to end, without faults.
    Sync { device: usize },
    /// A request that a device gave up on reaches the server after all.
    Late { pick: u32 },
    /// A settled group comes again under its id, with other contents.
    Altered { pick: u32 },
    /// Time passes.
    Advance { ms: i64 },
    /// The clock by which the server answers pulls is moved, perhaps back.
    Time { seconds: i64 },
    /// The device's process will die at its n-th crash point from now, perhaps with the power.
    CrashDevice {
        device: usize,
        points: u32,
        power: bool,
    },
    /// The server will die at its n-th crash point from now.
    CrashServer { points: u32 },
    /// The app is closed and opened again.
    RestartDevice { device: usize },
    /// The server is stopped and started.
    RestartServer,
    /// A copy of the device's file goes on under the same identity.
    Clone { device: usize },
    /// The server's file is copied.
    Backup,
    /// The server goes on from the copy.
    Restore,
}

/// Which way a sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    Send,
    Receive,
}

/// What becomes of the next thing that a sync waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The natural next thing.
    Go,
    /// So many bytes of the answer arrive.
    Read(u32),
    /// The request never arrives.
    LoseRequest,
    /// The server handles the request, and the answer is lost.
    LoseAnswer,
    /// The answer is cut after a share of its bytes, in 256ths.
    Cut(u8),
    /// The request arrives twice.
    Duplicate,
    /// The device gives up; the request arrives later.
    Delay,
    /// The server fails without looking at the request.
    Fail500,
    /// The server has too much to do.
    Busy,
    /// The token is nobody's.
    Nobody,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The app on a device.
    App(usize),
    /// Another process, into a device's file, with plain SQL.
    OtherProcess(usize),
    /// Somebody into the server's database, with plain SQL.
    Foreign,
}

/// What a user decides: the first three about a conflict, the others about a refused change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Mine,
    Theirs,
    Merged,
    Retry,
    Drop,
}

/// One statement of a transaction on orders, lines and remarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderEdit {
    pub(crate) what: OrderWhat,
    /// Which row, modulo those there are; for a new row, what it belongs to.
    pub(crate) row: u32,
    /// What tags and values are made of.
    pub(crate) n: u32,
    /// By an entity action, if it is the app that writes; else by SQL.
    pub(crate) by_action: bool,
    /// With the identifier that the app was given when it made the row, whatever it is now.
    pub(crate) old_id: bool,
}

/// What such a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderWhat {
    /// Makes an order.
    Order,
    /// Makes a line of an order.
    Line,
    /// Makes a remark about a line, perhaps an answer to another one.
    Remark,
    /// Sets an attribute.
    Set,
    /// Sets a value that a CHECK of the team's refuses.
    Bad,
    /// Counts an order's hits up.
    Hit,
    /// Deletes the row.
    Delete,
}

/// One statement of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) entity: usize,
    pub(crate) what: What,
    /// Which row, modulo those there are; for a new row, what its identifier is made of.
    pub(crate) row: u32,
    /// Which attribute, modulo those that may be written.
    pub(crate) attribute: u32,
    /// What the value is made of.
    pub(crate) n: u32,
}

/// What an edit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Makes a row.
    Create,
    /// Sets an attribute.
    Update,
    /// Sets an attribute to what it was a while ago.
    Back,
    /// Sets an attribute to null.
    Empty,
    /// Deletes the row.
    Delete,
    /// `INSERT … ON CONFLICT DO UPDATE`.
    Upsert,
    /// `REPLACE`.
    Replace,
    /// `INSERT OR IGNORE`.
    Ignore,
    /// Deletes the row and makes it again.
    Again,
    /// Sets a value that the team's trigger fails on.
    Poison,
    /// Sets a value that a CHECK of the team's refuses.
    Refused,
    /// Sets a value that breaks a rule of the model.
    Breaks,
    /// On the server: gives the row another identifier.
    Rekey,
    /// On the server: REPLACE under a new identifier, which removes the row that has its code.
    Displace,
    /// On the server: moves an amount from one account to another.
    Transfer,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { device, edits } => write!(f, "d{device} app writes {}", list(edits)),
            Self::OtherProcess { device, edits } => {
                write!(f, "d{device} another process writes {}", list(edits))
            }
            Self::Foreign { edits } => write!(f, "server: SQL writes {}", list(edits)),
            Self::Team { edits } => write!(f, "server: the team: {}", list(edits)),
            Self::Orders { by, edits } => {
                match by {
                    By::App(device) => write!(f, "d{device} app writes ")?,
                    By::OtherProcess(device) => write!(f, "d{device} another process writes ")?,
                    By::Foreign => f.write_str("server: SQL writes ")?,
                }
                f.write_str(&list(edits))
            }
            Self::Open {
                device,
                project,
                is_open,
            } => {
                let how = if *is_open { "opens" } else { "closes" };
                write!(f, "d{device} {how} project {project}")
            }
            Self::Decide {
                device,
                pick,
                decision,
                n,
            } => write!(f, "d{device} decides {decision:?} [{pick}] <{n}>"),
            Self::Undo { device, pick } => write!(f, "d{device} takes back [{pick}]"),
            Self::Start {
                device,
                lane,
                unit,
                way,
            } => {
                let unit = unit.map_or("all units", app::unit_name);
                write!(f, "d{device}/{lane} sync starts: {unit}, {way:?}")
            }
            Self::Step { device, lane, step } => write!(f, "d{device}/{lane} {step:?}"),
            Self::Sync { device } => write!(f, "d{device} whole sync"),
            Self::Late { pick } => write!(f, "late request {pick} arrives"),
            Self::Altered { pick } => write!(f, "group {pick} comes again, altered"),
            Self::Advance { ms } => write!(f, "{ms} ms pass"),
            Self::Time { seconds } => write!(f, "the server's clock moves by {seconds} s"),
            Self::CrashDevice {
                device,
                points,
                power,
            } => {
                let how = if *power { "loses power" } else { "dies" };
                write!(f, "d{device} {how} {points} crash points from now")
            }
            Self::CrashServer { points } => {
                write!(f, "server dies {points} crash points from now")
            }
            Self::RestartDevice { device } => write!(f, "d{device} restarts"),
            Self::RestartServer => f.write_str("server restarts"),
            Self::Clone { device } => write!(f, "d{device} is copied"),
            Self::Backup => f.write_str("server's file is copied"),
            Self::Restore => f.write_str("server goes on from the copy"),
        }
    }
}

fn list(edits: &[impl fmt::Display]) -> String {
    let edits: Vec<String> = edits.iter().map(ToString::to_string).collect();
    edits.join("; ")
}

impl fmt::Display for OrderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, row, n, .. } = self;
        write!(f, "{what:?} [{row}] <{n}>")?;
        if self.by_action {
            f.write_str(" by action")?;
        }
        if self.old_id {
            f.write_str(" by old id")?;
        }
        Ok(())
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entity,
            what,
            row,
            attribute,
            n,
        } = self;
        let name = app::name(*entity);
        write!(f, "{what:?} {name}[{row}].{attribute} <{n}>")
    }
}
