//! A case: a database, a model over it, who has devices, and what happens.

use std::fmt;

use fastrand::Rng;

use crate::model::Model;
use crate::schema::{Schema, USERS};

/// What happens, at least and at most.
const ACTIONS: std::ops::Range<usize> = 40..140;

/// A case, all of it from one number.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) schema: Schema,
    pub(crate) model: Model,
    /// The user of each device.
    pub(crate) devices: Vec<usize>,
    pub(crate) page_rows: usize,
    /// Whether the server remembers lists of what users hold.
    pub(crate) remembers: bool,
    pub(crate) style: Style,
    /// Whether the team writes one statement at a time: then every state of every row is seen.
    pub(crate) has_short_transactions: bool,
    pub(crate) actions: Vec<Action>,
}

/// What happens more often than else in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Everything,
    /// Memberships come and go between small pages.
    Grants,
    /// Few rows that many refer to are written again and again between small pages.
    Parents,
    /// Rows come into windows and leave them between small pages.
    Times,
}

/// Something that happens. What exactly is drawn from its own `salt`, so that it stays what it
/// is when others are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// A transaction of the team's, on one of two connections.
    Team { by: usize, steps: u8, salt: u64 },
    /// Rows and memberships to begin with.
    Fill { steps: u8, salt: u64 },
    /// A transaction of the team's that stays open for a while.
    Open { steps: u8, salt: u64 },
    /// Its end.
    Close { commits: bool },
    /// A user's token claims something else from now on.
    Claims { user: usize, salt: u64 },
    /// Time passes for the server, or its clock is set back.
    Time { hours: i64 },
    /// The user of a device writes; in the app, or in another program on its file.
    Write {
        device: usize,
        in_app: bool,
        steps: u8,
        salt: u64,
    },
    /// The user decides about a change that was refused.
    Decide { device: usize, salt: u64 },
    /// A sync of one unit, or of all, begins.
    Start { device: usize, salt: u64 },
    /// A sync goes on by one message.
    Step { device: usize, fate: Fate },
    /// A whole sync.
    Sync { device: usize },
    /// The server is started anew.
    Restart { remembers: bool },
    /// The app is started anew.
    Reopen { device: usize },
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    /// The request never comes.
    LoseRequest,
    /// The server takes it, and the device hears nothing.
    LoseAnswer,
    /// The connection breaks here; what came before is there.
    Cut,
}

impl Plan {
    /// Draws one.
    pub(crate) fn draw(number: u64) -> Self {
        let mut rng = Rng::with_seed(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xa11);
        let style = [
            Style::Everything,
            Style::Grants,
            Style::Parents,
            Style::Times,
        ][rng.usize(..4)];
        let schema = Schema::draw(style, &mut rng);
        let model = Model::draw(&schema, &mut rng);
        let devices: Vec<usize> = (0..rng.usize(2..=4))
            .map(|_| rng.usize(..USERS.len()))
            .collect();
        let sizes = [1, 2, 3, 5, 8, 100];
        let page_rows = match style {
            Style::Everything => sizes[rng.usize(..6)],
            _ => sizes[rng.usize(..3)],
        };
        let remembers = rng.u8(..3) > 0;
        let mut actions = Vec::new();
        // Something to begin with.
        for _ in 0..rng.usize(3..10) {
            let (steps, salt) = (rng.u8(4..12), rng.u64(..));
            actions.push(Action::Fill { steps, salt });
        }
        for _ in 0..rng.usize(ACTIONS) {
            actions.push(action(devices.len(), style, &mut rng));
        }
        Self {
            number,
            schema,
            model,
            devices,
            page_rows,
            remembers,
            style,
            has_short_transactions: rng.u8(..3) == 0,
            actions,
        }
    }
}

fn action(devices: usize, style: Style, rng: &mut Rng) -> Action {
    let device = rng.usize(..devices);
    let salt = rng.u64(..);
    let what = match style {
        Style::Everything => rng.u8(..64),
        // A write, a page, a write, a page.
        Style::Grants | Style::Parents => [rng.u8(..64), 0, 22, 34, 45, 45][rng.usize(..6)],
        // And time passes in between.
        Style::Times => [rng.u8(..64), 0, 20, 20, 22, 34, 45, 45, 45, 55][rng.usize(..10)],
    };
    // Pages that follow one another belong to one device, mostly.
    let device = match style {
        Style::Grants | Style::Parents | Style::Times if rng.u8(..4) > 0 => 0,
        _ => device,
    };
    match what {
        0..=17 => Action::Team {
            by: rng.usize(..2),
            steps: [1, 1, 1, 2, 3, 5][rng.usize(..6)],
            salt,
        },
        18 => Action::Open {
            steps: rng.u8(0..4),
            salt,
        },
        19 => Action::Close {
            commits: rng.u8(..4) > 0,
        },
        20 => Action::Time {
            hours: [1, 7, 24, 24, 50, 240, -3, -100][rng.usize(..8)],
        },
        21 => Action::Claims {
            user: rng.usize(..USERS.len()),
            salt,
        },
        22..=31 => Action::Write {
            device,
            in_app: rng.u8(..3) > 0,
            steps: [1, 1, 1, 2, 4][rng.usize(..5)],
            salt,
        },
        32..=33 => Action::Decide { device, salt },
        34..=38 => Action::Start { device, salt },
        39..=54 => Action::Step {
            device,
            fate: match rng.u8(..12) {
                0 => Fate::LoseRequest,
                1 => Fate::LoseAnswer,
                2 | 3 => Fate::Cut,
                _ => Fate::Arrives,
            },
        },
        55..=60 => Action::Sync { device },
        61..=62 => Action::Restart {
            remembers: rng.bool(),
        },
        _ => Action::Reopen { device },
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Team { by, .. } => write!(f, "team's connection {by}"),
            Self::Fill { .. } => write!(f, "something to begin with"),
            Self::Open { .. } => write!(f, "team's connection 0, left open"),
            Self::Close { commits: true } => write!(f, "what was left open is committed"),
            Self::Close { commits: false } => write!(f, "what was left open is rolled back"),
            Self::Claims { user, .. } => write!(f, "{} claims something else", USERS[*user]),
            Self::Write {
                device,
                in_app: true,
                ..
            } => write!(f, "d{device} writes"),
            Self::Time { hours } => write!(f, "the server's clock goes by {hours} hours"),
            Self::Write { device, .. } => write!(f, "another program on d{device} writes"),
            Self::Decide { device, .. } => write!(f, "d{device} decides"),
            Self::Start { device, .. } => write!(f, "d{device} begins a sync"),
            Self::Step { device, fate } => write!(f, "d{device} goes on: {fate:?}"),
            Self::Sync { device } => write!(f, "d{device} syncs"),
            Self::Restart { .. } => write!(f, "the server is started anew"),
            Self::Reopen { device } => write!(f, "d{device} is started anew"),
        }
    }
}
