//! Why a row is on a user's devices, or is not: everything that decides, each with its answer.
//!
//! For a person who is asked "why do I not see it?". What a storage finds is said here without
//! words, so that it can be printed in any language and compared in tests.

use afield_protocol::{Key, Value, Window};

/// Everything that decides about one row and one user, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The local entity.
    pub entity: String,
    /// The server entity's table.
    pub table: String,
    /// The identifier that was asked for.
    pub key: Key,
    /// Whether the database has such a row.
    pub exists: bool,
    /// What decides whether the row goes to his devices, in order. It does if every stage lets it.
    pub stages: Vec<Stage>,
    /// Whether he may change and delete it.
    pub write: Writing,
    /// What he may make of it: whether he may leave it behind as it is now.
    pub write_to: Writing,
    /// Attributes that no device writes.
    pub read_only: Vec<String>,
}

/// One thing that decides whether a row goes to a user's devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Which one.
    pub decides: Decides,
    /// Whether it lets the row through.
    pub lets: bool,
}

/// What decides whether a row goes to a user's devices.
#[derive(Clone, Debug, PartialEq)]
pub enum Decides {
    /// Whether there is a row.
    Row,
    /// Whether the row counts as deleted, which this column says.
    Delete(String),
    /// The window: whether it is in it by the database's clock.
    Window(Window),
    /// The pattern: whether rows of the entity go to devices at all.
    Pattern,
    /// The scope: whose row it is.
    Scope(Rule),
}

/// Whether a user may write a row, and which rule says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Writing {
    /// Whether he may, all in all.
    pub may: bool,
    /// What else stands in the way, before any rule about rows is asked.
    pub barred: Option<Barred>,
    /// The key of the model that says the rule: `write`, `write_to`, or `scope` where the model
    /// does not say it.
    pub key: &'static str,
    /// The rule.
    pub rule: Rule,
}

/// Why nobody is asked about a row that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// Devices do not write this entity.
    ReadOnly,
    /// Devices create rows of this entity, and change none.
    InsertOnly,
    /// There is no such row.
    NoRow,
    /// It is not in his scope, so that it is for him as if it were not there.
    OutOfScope,
}

/// A rule about rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Every row, whoever asks.
    Everyone,
    /// The ways in: one of them is enough. Without a row nothing of it is known but what the user
    /// holds.
    Ways(Vec<Way>),
}

/// A way in.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// What it asks for: all of it must hold.
    pub conditions: Vec<Tested>,
}

/// A condition, held against the row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// As the model file could say it: `company_id.region_id in regions`.
    pub text: String,
    /// The column of the row itself that decides.
    pub column: String,
    /// Its value, if there is a row.
    pub value: Value,
    /// The steps of its path as far as they lead.
    pub steps: Vec<Step>,
    /// What the user holds.
    pub held: Held,
    /// What came of it.
    pub answer: Answer,
}

/// A step of a path: to the row that a value refers to, and on to the next value.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The table that is referred to.
    pub table: String,
    /// The column of it that is looked up.
    pub key: String,
    /// The value that is looked up.
    pub wanted: Value,
    /// The column with the next value.
    pub column: String,
    /// The next value; `None` if there is no such row.
    pub value: Option<Value>,
}

/// What a user holds for a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Where it comes from.
    pub from: HeldFrom,
    /// The first values, at most [`HELD_SHOWN_MAX`].
    pub values: Vec<Value>,
    /// How many there are.
    pub count: usize,
}

/// Values that are shown of what a user holds: more than a person reads.
pub const HELD_SHOWN_MAX: usize = 20;

/// Where the values come from that a user holds.
#[derive(Clone, Debug, PartialEq)]
pub enum HeldFrom {
    /// His name.
    User,
    /// A claim of his token.
    Claim {
        /// Its name.
        name: String,
        /// Whether the token has it.
        is_given: bool,
    },
    /// What a query finds.
    Query {
        /// The name of the scope.
        name: String,
        /// The query.
        sql: String,
    },
    /// What a device chooses, if a query allows it: the condition holds if it would. No values
    /// are listed, since only devices know what they have chosen.
    Chosen {
        /// The name of the scope.
        name: String,
        /// The query.
        sql: String,
    },
}

/// What came of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The user holds the value.
    Held,
    /// There is no row whose value it could be.
    NoRow,
    /// The value, or one on the way, is null, which nobody holds.
    Null,
    /// A step of the path leads to no row.
    Broken,
    /// The token has no such claim.
    ClaimMissing,
    /// The claim is no text, number or truth value.
    ClaimUnusable,
    /// The query finds nothing for this user.
    NothingHeld,
    /// The user holds other values.
    OthersHeld,
}

impl Why {
    /// Whether the row goes to the user's devices.
    pub fn is_on_devices(&self) -> bool {
        self.stages.iter().all(|stage| stage.lets)
    }
}

impl Decides {
    /// A stable word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Delete(_) => "delete",
            Self::Window(_) => "window",
            Self::Pattern => "pattern",
            Self::Scope(_) => "scope",
        }
    }
}

impl Way {
    /// Whether all of it holds.
    pub fn holds(&self) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.answer == Answer::Held)
    }
}

impl Rule {
    /// Whether it lets the row in.
    pub fn holds(&self) -> bool {
        match self {
            Self::Everyone => true,
            Self::Ways(ways) => ways.iter().any(Way::holds),
        }
    }
}

impl Barred {
    /// A stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::InsertOnly => "insert-only",
            Self::NoRow => "no-row",
            Self::OutOfScope => "out-of-scope",
        }
    }
}

impl Answer {
    /// A stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NoRow => "no-row",
            Self::Null => "null",
            Self::Broken => "broken",
            Self::ClaimMissing => "claim-missing",
            Self::ClaimUnusable => "claim-unusable",
            Self::NothingHeld => "nothing-held",
            Self::OthersHeld => "others-held",
        }
    }
}
