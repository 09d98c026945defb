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
use crate::app;
use crate::environment::{Clock, SimEnvironment};
use crate::files;
use crate::jobs;
use crate::violation::Violation;

/// A server's file, and a device's file with the model in it.
pub(crate) struct Template {
    folder: TempDir,
}

/// A template, and the fault that was planted when it was made.
type Made = Option<(Option<&'static str>, Rc<Template>)>;

thread_local! {
    /// The thread's templates, and the fault that was planted when they were made: faults may be
    /// in the tables. One for worlds without jobs, one for those with some.
    static TEMPLATES: RefCell<[Made; 2]> =
        const { RefCell::new([None, None]) };
}

impl Template {
    /// The thread's template for worlds with this fault, and with jobs or without.
    pub(crate) fn of(planted: Option<&'static str>, has_jobs: bool) -> Result<Rc<Self>, Violation> {
        let at = usize::from(has_jobs);
        let made = TEMPLATES.with_borrow(|made| made[at].clone());
        if let Some((_, template)) = made.filter(|(fault, _)| *fault == planted) {
            return Ok(template);
        }
        let template = Rc::new(Self::new(has_jobs)?);
        TEMPLATES.with_borrow_mut(|made| made[at] = Some((planted, Rc::clone(&template))));
        Ok(template)
    }

    fn new(has_jobs: bool) -> Result<Self, Violation> {
        let template = Self {
            folder: files::folder()?,
        };
        let conn = Connection::open(template.server())?;
        server::make(&conn)?;
        drop(conn);
        server::prepare_file(&template.server(), has_jobs)?;
        let model = app::model(has_jobs).device;
        template.install(&template.device(), &model)?;
        if has_jobs {
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
