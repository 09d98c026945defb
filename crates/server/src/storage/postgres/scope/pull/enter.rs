//! The rows of an entity with a scope that have come into its window by time.
//!
//! They come before missing values are scanned: a scan goes by the instant of the pull, and so has
//! what came in under its value already. Rows are found by their attribute, whoever's they are, and
//! sent with the values that the device has.

use tokio_postgres::Row;

use super::super::super::key::RawKey;
use super::super::super::link::Link;
use super::super::super::marks::Snapshot;
use super::super::super::position::Progress;
use super::{ScopedPull, place};
use crate::storage::StorageError;
use crate::storage::page::{Content, PageWriter};
use crate::storage::window::Instants;

/// The rows that have come into the window since an instant, behind one of them.
pub(super) struct Entering {
    before: i64,
    after: Option<RawKey>,
}

impl Entering {
    /// All rows since an instant.
    pub(super) fn new(before: i64) -> Self {
        Self {
            before,
            after: None,
        }
    }

    /// From where a position says. `None` if that is none of this entity.
    pub(super) fn read(last: &[u8], before: i64, key_width: usize) -> Option<Self> {
        let after = place(last, key_width);
        let is_read = after.is_some() || last.is_empty();
        is_read.then_some(Self { before, after })
    }

    /// How far they have come, for a position.
    pub(super) fn progress(&self) -> Progress {
        Progress::Entering {
            last: self.after.as_ref().map(RawKey::bytes).unwrap_or_default(),
            before: self.before,
        }
    }
}

impl ScopedPull<'_> {
    /// Sends the rows that have come in, as far as the page goes.
    pub(super) async fn enter(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
        let (Some(Entering { before, after }), Some(at)) = (&self.entering, self.at) else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let (before, after) = (*before, after.clone());
        let (table, ways) = (self.table, self.ways());
        let mut content = Content::new(page, &table.entity.local);
        let mut has_read = after.is_some();
        let mut each = |row: &Row| {
            if let Some(beside) = ways.of_row(table, row, 0)? {
                super::send(&mut content, &table.cells(row, 0)?, &beside);
                has_read = true;
            }
            Ok(content.page.is_full())
        };
        let last = table.entering(link, (before, at), after, &mut each).await?;
        content.finish();
        if has_read || last.is_some() {
            self.seen = Some(now.clone());
        }
        self.entering = last.map(|last| Entering {
            before,
            after: Some(last),
        });
        Ok(())
    }

    /// Whether a row that the device is entitled to has come in.
    pub(super) async fn has_entered(
        &self,
        link: &Link,
        instants: Instants,
    ) -> Result<bool, StorageError> {
        let Some(span) = instants.before.zip(instants.resumed) else {
            return Ok(false);
        };
        let (table, ways) = (self.table, self.ways());
        let mut is_mine = |row: &Row| Ok(ways.of_row(table, row, 0)?.is_some());
        table.any_entered(link, span, &mut is_mine).await
    }
}
