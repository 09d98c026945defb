//! What a sync does about another model of the server's.

use afield_protocol::{Code, Model};

use super::{Command, Direction, Run};
use crate::error::Error;
use crate::store::{SyncStore, UpgradeFailed};

impl Run {
    /// Installs the server's model and starts over under it. If that is not possible the store
    /// stays as it is, says so, and what it has to send is sent.
    pub(super) fn upgrade(
        &mut self,
        store: &mut SyncStore,
        json: &str,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let (fingerprint, error) = match Model::from_json(json) {
            Ok(model) => match store.install(&model) {
                Ok(()) => {
                    self.report.model_changed = true;
                    self.not_upgraded = None;
                    return self.begin(store, commands);
                }
                Err(error) => (model.fingerprint(), error),
            },
            Err(error) => ("unreadable".to_owned(), error.into()),
        };
        let Some(old) = store.model()? else {
            // There is nothing to go on with.
            return Err(error);
        };
        let failed = UpgradeFailed {
            model: fingerprint,
            code: error.code().clone(),
            message: error.to_string(),
        };
        // Without space not even this can be noted; the sync says it in any case.
        let _ = store.note_upgrade_failed(&failed);
        let message = format!(
            "the server's newer model could not be taken ({}): {}",
            failed.code, failed.message
        );
        self.not_upgraded = Some((Code::UPGRADE_FAILED, message));
        self.model = Some(old);
        match self.direction {
            Direction::Receive => self.finish(store, None, commands),
            Direction::Both | Direction::Send => self.next(store, commands),
        }
    }

    /// Goes on after an answer that had outcomes and no rows, for want of the server's model.
    pub(super) fn sent_only(
        &mut self,
        store: &mut SyncStore,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        commands.push(Command::Abort);
        let exchange = self.exchange.take();
        match exchange.is_some_and(|exchange| exchange.progressed) {
            true => self.next(store, commands),
            false => self.finish(store, None, commands),
        }
    }
}
