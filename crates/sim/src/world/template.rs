//! Files that every world begins with, made once for a thread: making tables takes most of the
//! time of a short world.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use afield::Store;
use afield_protocol::Model;
use rusqlite::Connection;
use tempfile::TempDir;

use super::device::unexplained;
use super::server;
use crate::app::{self, Kinds};
use crate::environment::{Clock, SimEnvironment};
use crate::files;
use crate::jobs;
use crate::violation::Violation;

/// A server's file, and a device's file with the model in it.
pub(crate) struct Template {
    folder: TempDir,
}

thread_local! {
    /// The thread's templates with one fault: faults may be in the tables.
    static TEMPLATE: RefCell<Vec<(Kind, Rc<Template>)>> = const { RefCell::new(Vec::new()) };
}

/// The fault that is planted, and what there is beyond what every world has.
type Kind = (Option<&'static str>, Kinds);

impl Template {
    /// The thread's template for worlds with this fault.
    pub(crate) fn of(planted: Option<&'static str>, kinds: Kinds) -> Result<Rc<Self>, Violation> {
        let kind = (planted, kinds);
        TEMPLATE.with_borrow_mut(|made| made.retain(|((fault, _), _)| *fault == planted));
        let made = TEMPLATE.with_borrow(|made| made.clone());
        if let Some((_, template)) = made.into_iter().find(|(of, _)| *of == kind) {
            return Ok(template);
        }
        let template = Rc::new(Self::new(kinds)?);
        TEMPLATE.with_borrow_mut(|made| made.push((kind, Rc::clone(&template))));
        Ok(template)
    }

    fn new(kinds: Kinds) -> Result<Self, Violation> {
        let template = Self {
            folder: files::folder()?,
        };
        let conn = Connection::open(template.server())?;
        server::make(&conn, kinds)?;
        drop(conn);
        server::prepare_file(&template.server(), kinds)?;
        let model = app::model(kinds).device;
        template.install(&template.device(), &model)?;
        if kinds.has_jobs {
            template.install(&template.old_device(), &jobs::without_rules(model))?;
        }
        Ok(template)
    }

    fn install(&self, path: &Path, model: &Model) -> Result<(), Violation> {
        let environment = Box::new(SimEnvironment::new(&Clock::new(), 0));
        // The user's name is put right in each copy.
        Store::open(path, "", environment)
            .and_then(|mut store| store.install_first(model))
            .map_err(|error| unexplained("a new store", &error))
    }

    /// The server's file.
    pub(crate) fn server(&self) -> PathBuf {
        self.folder.path().join("server.db")
    }

    /// The device's file.
    pub(crate) fn device(&self) -> PathBuf {
        self.folder.path().join("device.db")
    }

    /// A device's file, with the model that there was before anybody thought of rules.
    pub(crate) fn old_device(&self) -> PathBuf {
        self.folder.path().join("old-device.db")
    }
}
