//! Carrying changes in a file, where there is no network for it.

use std::path::Path;

use super::Client;
use crate::error::Error;
use crate::store::{ExportOptions, Exported, Imported};

impl Client {
    /// Writes everything that is not settled into a file; see [`Store::export`].
    ///
    /// # Errors
    /// Those of [`Store::export`].
    ///
    /// [`Store::export`]: crate::Store::export
    pub fn export(&self, path: &Path, options: &ExportOptions) -> Result<Exported, Error> {
        self.store().export(path, options)
    }

    /// Takes the changes of a file into this outbox; see [`Store::import`]. Where syncs begin after
    /// writes, one begins after this.
    ///
    /// # Errors
    /// Those of [`Store::import`].
    ///
    /// [`Store::import`]: crate::Store::import
    pub fn import(&self, path: &Path) -> Result<Imported, Error> {
        self.store().import(path)
    }

    /// Logs the user out once everything of his that is not settled is in a file, whole and on
    /// disk; see [`Client::log_out`]. Then [`Client::erase`] may remove what is here.
    ///
    /// ```no_run
    /// # fn leave(client: afield::native::Client) -> Result<(), afield::Error> {
    /// use afield::{ExportOptions, Unsent};
    /// let path = std::path::Path::new("/media/stick/ann.outbox");
    /// client.log_out_exported(path, &ExportOptions::default())?;
    /// client.erase(Unsent::Discard)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::export`]; `unsent-work` if something is too large for a file, and
    /// `overtaken` if something was written or received meanwhile, although there is a file then.
    /// The user is still there.
    ///
    /// [`Store::export`]: crate::Store::export
    pub fn log_out_exported(
        &self,
        path: &Path,
        options: &ExportOptions,
    ) -> Result<Exported, Error> {
        let exported = self.store().log_out_exported(path, options)?;
        self.left()?;
        Ok(exported)
    }
}
