//! Connections that requests borrow: each with a runtime of its own, so that a query costs no
//! change of threads.
//!
//! What fails because its connection is gone is done once more on a new one: the database was
//! started anew, or somebody between closes what is idle.

use std::sync::{Condvar, Mutex, PoisonError};

use afield_protocol::Code;
use tokio::runtime::{Builder, Runtime};

use super::error::lasting;
use super::link::Link;
use crate::model::file::PostgresUrl;
use crate::storage::StorageError;

/// A connection and what drives it.
struct Driven {
    link: Link,
    runtime: Runtime,
}

/// A connection that is lent, with a transaction in it.
pub(super) struct Lease<'p> {
    /// There until it is given back.
    driven: Option<Driven>,
    turn: Turn<'p>,
}

impl Lease<'_> {
    /// Waits for what `work` does with the connection.
    pub(super) fn wait<T>(
        &self,
        work: impl AsyncFnOnce(&Link) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match &self.driven {
            Some(Driven { link, runtime }) => runtime.block_on(work(link)),
            None => Err(lasting("a connection was given back too early")),
        }
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.driven
            .as_ref()
            .is_none_or(|driven| driven.link.has_ended())
    }

    /// The state of the last statement that failed.
    pub(super) fn failed(&self) -> Option<String> {
        let driven = self.driven.as_ref()?;
        driven.link.failed.borrow().clone()
    }

    /// Whether the last failure came of a table that is another one now.
    pub(super) fn has_met_other_tables(&self) -> bool {
        let driven = self.driven.as_ref();
        driven.is_some_and(|driven| driven.link.has_met_other_tables())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(driven) = self.driven.take()
            && !driven.link.has_ended()
        {
            self.turn.pool.keep(driven, true);
        }
    }
}

/// The right to use one of the connections that there may be.
struct Turn<'p> {
    pool: &'p Pool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.pool.free() += 1;
        self.pool.freed.notify_one();
    }
}

/// The connections of a storage.
pub(super) struct Pool {
    url: PostgresUrl,
    kept: Mutex<Vec<Driven>>,
    /// How many more may be in use.
    free: Mutex<usize>,
    freed: Condvar,
}

impl Pool {
    /// Of so many connections at most.
    pub(super) fn new(url: PostgresUrl, most: usize) -> Self {
        Self {
            url,
            kept: Mutex::default(),
            free: Mutex::new(most.max(1)),
            freed: Condvar::new(),
        }
    }

    /// Waits until a connection is free. Who has one never asks for another.
    fn turn(&self) -> Turn<'_> {
        let free = self.free();
        let waited = self.freed.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn { pool: self }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` with a connection, and once more with a new one if that one is gone. Not to be
    /// called from asynchronous code.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is written where it is passed, and may run twice"
    )]
    pub(super) fn with<T>(
        &self,
        work: impl AsyncFn(&mut Link) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let _turn = self.turn();
        let pooled = self.kept().pop();
        if let Some(mut driven) = pooled {
            driven.link.failed.take();
            let result = driven.runtime.block_on(work(&mut driven.link));
            let is_gone = result.is_err() && driven.link.has_ended();
            if !is_gone {
                self.keep(driven, result.is_ok());
                return result;
            }
            // The others are as old.
            self.kept().clear();
        }
        let mut driven = self.connect()?;
        let result = driven.runtime.block_on(work(&mut driven.link));
        self.keep(driven, result.is_ok());
        result
    }

    /// Lends a connection in which a transaction has begun, with `begin`; what is still open when
    /// it is given back is undone. Not to be called, nor anything of it, from asynchronous code.
    pub(super) fn lend(&self, begin: &str, doing: &str) -> Result<Lease<'_>, StorageError> {
        let turn = self.turn();
        let begun = |driven: Driven| {
            driven.link.failed.take();
            let begun = driven.link.begin(begin, doing);
            let begun = driven.runtime.block_on(begun);
            begun.map(|()| driven)
        };
        let lease = |driven| Lease {
            driven: Some(driven),
            turn,
        };
        let pooled = self.kept().pop();
        if let Some(driven) = pooled {
            match begun(driven) {
                Ok(driven) => return Ok(lease(driven)),
                // The others are as old.
                Err(_) => self.kept().clear(),
            }
        }
        begun(self.connect()?).map(lease)
    }

    /// Closes what is idle: its statements are those of other tables.
    pub(super) fn clear(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Driven>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Result<Driven, StorageError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StorageError {
            code: Code::UNREACHABLE,
            message: format!("the system gives no means to wait for a connection: {error}"),
            is_retryable: true,
        })?;
        let link = runtime.block_on(Link::connect(&self.url))?;
        Ok(Driven { link, runtime })
    }

    /// Takes a connection back, unless something in it is not as it should be.
    fn keep(&self, driven: Driven, is_sound: bool) {
        if driven.link.is_open.get() {
            let undone = driven.link.run("ROLLBACK", "ending a transaction");
            if driven.runtime.block_on(undone).is_err() {
                return;
            }
            driven.link.has_ended_transaction();
        }
        // One for each that may be in use, at most.
        if is_sound || !driven.link.has_met_other_tables() {
            self.kept().push(driven);
        }
    }
}
