//! What a user holds, and whether what was touched is his.

use std::collections::HashSet;
use std::sync::Arc;

use crate::storage::live::{HeldEntity, Holdings, TouchedEntity, TouchedRows, Value};

/// What a user holds of one entity.
#[derive(Debug)]
pub(crate) enum Mine {
    Nothing,
    Everything,
    /// What the app on a device chose is not known here.
    Chosen,
    Ways {
        /// The ways for all of whose conditions something is held.
        ways: Vec<Vec<Condition>>,
        digest: u64,
    },
}

/// The values that are held for a condition, in order.
#[derive(Debug)]
pub(crate) struct Condition {
    column: usize,
    values: Box<[Value]>,
}

/// Each value once, however many users hold it.
#[derive(Debug, Default)]
pub(crate) struct Values {
    known: HashSet<Value>,
    /// How many there were when those that nobody holds were last dropped.
    kept: usize,
}

impl Values {
    fn the_one(&mut self, value: Value) -> Value {
        if let Some(known) = self.known.get(&value) {
            return Arc::clone(known);
        }
        if self.known.len() > 2 * self.kept + 1_000 {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.kept = self.known.len();
        }
        self.known.insert(Arc::clone(&value));
        value
    }
}

impl Mine {
    /// All entities of a user.
    pub(crate) fn all(holdings: Holdings, known: &mut Values) -> Vec<Self> {
        let entities = holdings.entities.into_iter();
        entities.map(|held| Self::of(held, known)).collect()
    }

    fn of(held: HeldEntity, known: &mut Values) -> Self {
        let (conditions, digest) = match held {
            HeldEntity::Nobody => return Self::Nothing,
            HeldEntity::Everyone => return Self::Everything,
            HeldEntity::Chosen => return Self::Chosen,
            HeldEntity::Ways { conditions, digest } => (conditions, digest),
        };
        let mut ways: Vec<Vec<Condition>> = Vec::new();
        for condition in conditions {
            while ways.len() <= condition.way {
                ways.push(Vec::new());
            }
            let values = condition.values.into_iter();
            let mut values: Vec<Value> = values.map(|value| known.the_one(value)).collect();
            values.sort_unstable();
            if let Some(way) = ways.get_mut(condition.way) {
                way.push(Condition {
                    column: condition.column,
                    values: values.into(),
                });
            }
        }
        ways.retain(|way| way.iter().all(|condition| !condition.values.is_empty()));
        Self::Ways { ways, digest }
    }

    /// How many values are kept for it.
    pub(crate) fn size(&self) -> usize {
        let Self::Ways { ways, .. } = self else {
            return 0;
        };
        ways.iter().flatten().map(|it| it.values.len()).sum()
    }

    /// The digest of what is held; where it says nothing, `None`.
    pub(crate) fn digest(&self) -> Option<u64> {
        match self {
            Self::Ways { digest, .. } => Some(*digest),
            _ => None,
        }
    }

    /// Under which values of which columns marks are to be looked for: of each way those of the
    /// condition with the fewest.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (usize, &Value)> {
        let ways = match self {
            Self::Ways { ways, .. } => ways.as_slice(),
            _ => &[],
        };
        let fewest = ways
            .iter()
            .filter_map(|way| way.iter().min_by_key(|it| it.values.len()));
        fewest.flat_map(|it| it.values.iter().map(move |value| (it.column, value)))
    }

    /// Whether what was touched is this user's, or was.
    pub(crate) fn is_touched(&self, touched: &TouchedEntity) -> bool {
        match (self, &touched.rows) {
            (Self::Nothing | Self::Chosen, _) | (_, TouchedRows::None) => false,
            (Self::Everything, TouchedRows::Any | TouchedRows::With(_)) => true,
            (Self::Ways { ways, .. }, TouchedRows::Any) => !ways.is_empty(),
            (Self::Ways { ways, .. }, TouchedRows::With(rows)) => {
                let is_mine = |row: &Vec<Value>| {
                    let holds = |condition: &Condition| {
                        let value = row.get(condition.column);
                        value.is_some_and(|value| condition.values.binary_search(value).is_ok())
                    };
                    ways.iter().any(|way| way.iter().all(holds))
                };
                rows.iter().any(is_mine)
            }
        }
    }
}
