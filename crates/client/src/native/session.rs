//! Logging out, on a device that several people use.

use super::{Client, lock};
use crate::error::Error;
use crate::store::Unsent;

impl Client {
    /// Logs the user out: the token is forgotten, nothing begins by itself any more, and the store
    /// is opened again only with a token of this user's. A sync that runs is cancelled. Gives how
    /// many changes are not settled. Drop the client afterwards, and open the next user's.
    ///
    /// Rows stay in the file for the next time; on a device that others can read, give the store a
    /// key ([`super::ClientOptions::key`]), or erase it with [`Client::erase`].
    ///
    /// ```no_run
    /// # fn leave(client: &afield::native::Client) -> Result<(), afield::Error> {
    /// use afield::Unsent;
    /// match client.log_out(Unsent::Refuse) {
    ///     Err(error) if error.code().as_str() == "unsent-work" => println!("{error}"),
    ///     left => drop(left?),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unsent-work`, with their number, if changes are not settled and `unsent` says nothing about
    /// them, or the store cannot be written: the user is still there. [`Unsent::Discard`] is for
    /// [`Client::erase`], and is refused as `malformed`.
    pub fn log_out(&self, unsent: Unsent) -> Result<u64, Error> {
        if unsent == Unsent::Discard {
            let message = "changes are given up with the store they are in: erase it";
            return Err(Error::new(afield_protocol::Code::MALFORMED, message));
        }
        self.leave(unsent)
    }

    /// Logs the user out and removes everything of his from this device, local-only rows too. Gives
    /// how many changes were not settled. No other process may have the store open.
    ///
    /// # Errors
    /// As with [`Client::log_out`], the user is still there then; or a file cannot be removed, the
    /// user is logged out then.
    pub fn erase(self, unsent: Unsent) -> Result<u64, Error> {
        let left = self.leave(unsent)?;
        let (folder, user) = (self.folder.clone(), self.user.clone());
        drop(self);
        folder.erase(&user)?;
        Ok(left)
    }

    fn leave(&self, unsent: Unsent) -> Result<u64, Error> {
        let left = self.store().log_out(unsent)?;
        self.left()?;
        Ok(left)
    }

    /// Ends what the user had begun: he is logged out.
    pub(super) fn left(&self) -> Result<(), Error> {
        self.shared.log_out();
        self.folder.forget_token(&self.user)
    }
}

impl super::worker::Shared {
    /// Nothing is sent or received any more.
    fn log_out(&self) {
        self.unconfigure();
        self.discard();
        let mut settings = lock(&self.settings);
        (settings.token, settings.token_source, settings.kept_in) = (None, None, None);
        drop(settings);
        self.control.cancel();
        self.end_stream();
    }
}
