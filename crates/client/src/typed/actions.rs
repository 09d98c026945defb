//! What typed actions run on.

use std::sync::MutexGuard;

use afield_protocol::{Attributes, Value};

use crate::error::Error;
use crate::store::{Params, Rows, Store, Transaction};

/// A [`Store`], the guard of a store that is shared, or a [`Transaction`]. On a store every action
/// that writes is a transaction of its own.
pub trait Actions {
    /// Runs `step` as a transaction of its own, or as part of the one that this is.
    ///
    /// # Errors
    /// Those of `step`, or the store cannot be written.
    fn write<T>(
        &mut self,
        step: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error>;

    /// The row of an identifier.
    ///
    /// # Errors
    /// There is no such entity, or the identifier has another shape.
    fn row(&mut self, entity: &str, key: &[Value]) -> Result<Option<Attributes>, Error>;

    /// Runs a query that writes nothing.
    ///
    /// # Errors
    /// The statement is wrong, or writes.
    fn rows(&mut self, sql: &str, params: &Params) -> Result<Rows, Error>;
}

impl Actions for Store {
    fn write<T>(
        &mut self,
        step: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transaction(step)
    }

    fn row(&mut self, entity: &str, key: &[Value]) -> Result<Option<Attributes>, Error> {
        self.get(entity, key)
    }

    fn rows(&mut self, sql: &str, params: &Params) -> Result<Rows, Error> {
        self.query(sql, params)
    }
}

impl Actions for Transaction<'_> {
    fn write<T>(
        &mut self,
        step: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        step(self)
    }

    fn row(&mut self, entity: &str, key: &[Value]) -> Result<Option<Attributes>, Error> {
        self.get(entity, key)
    }

    fn rows(&mut self, sql: &str, params: &Params) -> Result<Rows, Error> {
        self.query(sql, params)
    }
}

impl<A: Actions> Actions for MutexGuard<'_, A> {
    fn write<T>(
        &mut self,
        step: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        (**self).write(step)
    }

    fn row(&mut self, entity: &str, key: &[Value]) -> Result<Option<Attributes>, Error> {
        (**self).row(entity, key)
    }

    fn rows(&mut self, sql: &str, params: &Params) -> Result<Rows, Error> {
        (**self).rows(sql, params)
    }
}
