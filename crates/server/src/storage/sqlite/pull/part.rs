//! The entities of a page, whichever way they go.

use afield_protocol::{Frame, Held, Window};
use rusqlite::Connection;

use super::super::entity::EntityTable;
use super::super::scope::{Listed, ScopedPull};
use super::{Pulled, State};

/// An entity while its page is made.
pub(super) enum Part<'a> {
    /// All its rows are everyone's.
    Whole(Pulled<'a>),
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

    /// How many rows a download of it brings, if that is known, counted up to `most`.
    pub(super) fn counted(
        &self,
        conn: &Connection,
        most: usize,
    ) -> rusqlite::Result<Option<usize>> {
        match self {
            Self::Whole(entity) if matches!(entity.state, State::Never) => Ok(Some(0)),
            _ if !self.table().entity.sends_every_row() => Ok(None),
            Self::Whole(entity) => entity.table.counted(conn, most).map(Some),
            Self::Scoped(entity) => entity.counted(conn, most),
        }
    }

    pub(super) fn told(&self) -> Option<Frame> {
        match self {
            Self::Whole(_) => None,
            Self::Scoped(entity) => entity.told(),
        }
    }

    pub(super) fn held(&self, listed: &Listed<'_>) -> Option<Held> {
        match self {
            Self::Whole(_) => None,
            Self::Scoped(entity) => Some(entity.held(listed)),
        }
    }
}
