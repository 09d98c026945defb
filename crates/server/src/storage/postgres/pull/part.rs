//! The entities of a page, whichever way they go.

use afield_protocol::{Frame, Held, Window};

use super::super::entity::EntityTable;
use super::super::link::Link;
use super::super::position::Place;
use super::super::scope::ScopedPull;
use super::whole::Pulled;
use super::{DOING, State, Taken};
use crate::storage::StorageError;
use crate::storage::lists::Listed;

/// An entity while its page is made.
pub(super) enum Part<'a> {
    /// All its rows are everyone's.
    Whole(Box<Pulled<'a>>),
    /// It has a scope.
    Scoped(Box<ScopedPull<'a>>),
}

impl Part<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Whole(entity) => entity.name,
            Self::Scoped(entity) => entity.name,
        }
    }

    pub(super) fn table(&self) -> &EntityTable {
        match self {
            Self::Whole(entity) => entity.table,
            Self::Scoped(entity) => entity.table,
        }
    }

    /// Which rows stay on the device.
    pub(super) fn window(&self) -> Option<&Window> {
        match self {
            Self::Whole(entity) => entity.window.as_ref(),
            Self::Scoped(entity) => entity.window.as_ref(),
        }
    }

    pub(super) fn is_scanning(&self) -> bool {
        match self {
            Self::Whole(entity) => {
                matches!(entity.state, State::Scan { .. } | State::Enter { .. })
            }
            Self::Scoped(entity) => entity.is_scanning(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Whole(entity) => matches!(entity.state, State::Done | State::Never),
            Self::Scoped(entity) => entity.is_done(),
        }
    }

    /// Whether its rows go to no device.
    pub(super) fn is_never(&self) -> bool {
        match self {
            Self::Whole(entity) => matches!(entity.state, State::Never),
            Self::Scoped(_) => false,
        }
    }

    /// How many rows a download of it brings, if that is known, counted up to `most`.
    pub(super) async fn counted(
        &self,
        link: &Link,
        most: usize,
    ) -> Result<Option<usize>, StorageError> {
        let table = self.table();
        match self {
            _ if self.is_never() => Ok(Some(0)),
            _ if !table.entity.sends_every_row() => Ok(None),
            Self::Whole(_) => {
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                let counted = link.counted(&table.sql.count, &[&most], DOING).await;
                counted.map(Some)
            }
            Self::Scoped(entity) => entity.counted(link, most).await,
        }
    }

    /// What changed in the values that the user holds, if anything did.
    pub(super) fn told(&self) -> Option<Frame> {
        match self {
            Self::Whole(_) => None,
            Self::Scoped(entity) => entity.told(),
        }
    }

    /// The values whose rows the device has after this page.
    pub(super) fn held(&self, listed: &Listed<'_>) -> Option<Held> {
        match self {
            Self::Whole(_) => None,
            Self::Scoped(entity) => Some(entity.held(listed)),
        }
    }

    /// Where the device stands after this page.
    pub(super) fn place(&self, taken: &Taken) -> Place {
        match self {
            Self::Whole(entity) => entity.place(taken),
            Self::Scoped(entity) => entity.place(taken),
        }
    }
}
