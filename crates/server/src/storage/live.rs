//! What a look at the database for live streams asks, and what it finds.
//!
//! A look goes by snapshots, as pulls do, and by no clock: what one look's snapshot does not see
//! and the next one's does is found by the second, however late it commits. What users hold is
//! asked in the same snapshot, so that two answers of two looks differ by exactly what these
//! looks found.

use super::postgres::Snapshot;

/// Up to where a look has seen. One of another storage, or of another start of it, says nothing.
#[derive(Clone, Debug)]
pub struct Moment(pub(super) At);

/// See [`Moment`].
#[derive(Clone, Debug)]
pub(super) enum At {
    Sqlite {
        epoch: [u8; 8],
        change: i64,
        /// Differs whenever anything was committed to the file, of one connection.
        version: i64,
        /// Which connection that is.
        connection: u64,
    },
    Postgres {
        epoch: [u8; 8],
        snapshot: Snapshot,
    },
}

/// What is watched, entity by entity as the model has them.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// For each entity the scope columns, by their place among those that marks carry, and the
    /// values under which marks are looked for. Where rows are everyone's there are none.
    pub entities: Vec<Vec<(usize, Vec<Value>)>>,
}

/// The bytes of a value of a scope column: the same for what the database calls equal.
pub type Value = std::sync::Arc<[u8]>;

/// What a look found.
#[derive(Debug)]
pub struct Look {
    /// Up to where it has seen.
    pub moment: Moment,
    /// What was touched since the look before.
    pub touched: Touched,
    /// What each of those holds who were to be asked about, in the same snapshot.
    pub held: Vec<Result<Holdings, super::StorageError>>,
}

/// What was touched since the look before.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Nothing is known of what was before: another history, or marks that were forgotten.
    pub is_everything: bool,
    /// Whether anything was committed at all.
    pub is_anything: bool,
    /// For each entity what was touched; empty if nothing was committed.
    pub entities: Vec<TouchedEntity>,
}

impl Touched {
    /// Nothing is known of what was before.
    pub(super) fn everything() -> Self {
        Self {
            is_everything: true,
            is_anything: true,
            entities: Vec::new(),
        }
    }
}

/// What was touched of an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TouchedEntity {
    /// Its rows.
    pub rows: TouchedRows,
    /// What says who holds what of its scope.
    pub held: TouchedHeld,
}

/// Which rows were touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TouchedRows {
    /// None.
    #[default]
    None,
    /// Rows with these values in the scope columns, before or after; of one column each value
    /// stands once. A null has no bytes.
    With(Vec<Vec<Value>>),
    /// Any: rows that are everyone's, what is shown of other tables, or too many to tell apart.
    Any,
}

/// Whether anything was touched that says what users hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TouchedHeld {
    /// Nothing was.
    #[default]
    No,
    /// Perhaps; and all devices are answered by this server, which knows what they were told.
    Perhaps,
    /// By one transaction: who holds the same as before has missed nothing.
    Once,
    /// By several transactions: who holds the same as before may have held something else between
    /// them, when his device synchronised.
    Several,
}

impl TouchedHeld {
    /// Both, one after the other.
    pub fn and(self, then: Self) -> Self {
        match (self, then) {
            (Self::No, one) | (one, Self::No) => one,
            (Self::Perhaps, Self::Perhaps) => Self::Perhaps,
            _ => Self::Several,
        }
    }
}

/// What a user holds, entity by entity as the model has them.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// For each entity.
    pub entities: Vec<HeldEntity>,
}

/// What a user holds of an entity's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldEntity {
    /// Its rows go to nobody.
    Nobody,
    /// Its rows are everyone's.
    Everyone,
    /// The app on each device chooses among what the user may have.
    Chosen,
    /// Values for each condition.
    Ways {
        /// All conditions, way by way.
        conditions: Vec<HeldCondition>,
        /// Of all values; the same as [`digest`] of what a device has that was
        /// told all of it.
        digest: u64,
    },
}

/// What is held for a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCondition {
    /// The way in that it belongs to.
    pub way: usize,
    /// The place of its column among those that marks carry.
    pub column: usize,
    /// The values.
    pub values: Vec<Value>,
}

/// Most marks under the values of a scope of several columns that a look tells apart.
pub(super) const MARKS_MAX: usize = 4_096;

/// The digest of the values of an entity's scope that a device has rows of, by their numbers.
pub fn digest(numbers: &[i64]) -> u64 {
    super::lists::digest(numbers.iter().copied())
}

/// Each row's values once; `None` if there are more than are told apart.
pub(super) fn distinct(mut rows: Vec<Vec<Value>>) -> TouchedRows {
    if rows.len() > MARKS_MAX {
        return TouchedRows::Any;
    }
    rows.sort_unstable();
    rows.dedup();
    match rows.is_empty() {
        true => TouchedRows::None,
        false => TouchedRows::With(rows),
    }
}
