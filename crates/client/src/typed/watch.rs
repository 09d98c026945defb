//! Watching typed rows.

use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::time::Duration;

use super::{Actions, Entity};
use crate::error::Error;
use crate::store::{Params, Store, Watch};

/// What can watch: a client, which notices other processes too, or a store.
pub trait Watching {
    /// Watches what `sql` reads.
    ///
    /// # Errors
    /// The query is wrong.
    fn watching(self, sql: &str) -> Result<Watch, Error>;
}

impl Watching for &mut Store {
    fn watching(self, sql: &str) -> Result<Watch, Error> {
        self.watch(sql)
    }
}

impl Watching for &mut MutexGuard<'_, Store> {
    fn watching(self, sql: &str) -> Result<Watch, Error> {
        self.watch(sql)
    }
}

#[cfg(feature = "native")]
impl Watching for &crate::native::Client {
    fn watching(self, sql: &str) -> Result<Watch, Error> {
        self.watch(sql)
    }
}

#[cfg(feature = "native")]
impl Watching for &std::sync::Arc<crate::native::Client> {
    fn watching(self, sql: &str) -> Result<Watch, Error> {
        self.watch(sql)
    }
}

/// Rows that are watched. Dropping it ends that.
#[derive(Debug)]
pub struct RowWatch<E> {
    watch: Watch,
    clause: String,
    params: Params,
    entity: PhantomData<fn() -> E>,
}

impl<E: Entity> RowWatch<E> {
    pub(super) fn new(watch: Watch, clause: &str, params: Params) -> Self {
        Self {
            watch,
            clause: clause.to_owned(),
            params,
            entity: PhantomData,
        }
    }

    /// The rows as they are now.
    ///
    /// # Errors
    /// Those of [`Entity::query`].
    pub fn rows(&self, on: &mut impl Actions) -> Result<Vec<E>, Error> {
        E::query(on, &self.clause, self.params.clone())
    }

    /// Waits until a transaction that touched the entity was committed, and says how many were
    /// since the last call: 0 if none came in time.
    pub fn wait(&self, timeout: Duration) -> u64 {
        self.watch.wait(timeout)
    }

    /// Says how many such transactions were committed since the last call, without waiting.
    pub fn take(&self) -> u64 {
        self.watch.take()
    }
}
