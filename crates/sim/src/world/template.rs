//! Files that every world begins with, made once for a thread: making tables takes most of the
//! time of a short world.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use afield::Store;
use rusqlite::Connection;
use tempfile::TempDir;

use super::device::unexplained;
use super::server;
use crate::app;
use crate::environment::{Clock, SimEnvironment};
use crate::files;
use crate::violation::Violation;

/// A server's file, and a device's file with the model in it.
pub(crate) struct Template {
    folder: TempDir,
}

thread_local! {
    /// The thread's template, and the fault that was planted when it was made: faults may be in
    /// the tables.
    static TEMPLATE: RefCell<Option<(Option<&'static str>, Rc<Template>)>> =
        const { RefCell::new(None) };
}

impl Template {
    /// The thread's template for worlds with this fault.
    pub(crate) fn of(planted: Option<&'static str>) -> Result<Rc<Self>, Violation> {
        let made = TEMPLATE.with_borrow(|made| made.clone());
        if let Some((_, template)) = made.filter(|(fault, _)| *fault == planted) {
            return Ok(template);
        }
        let template = Rc::new(Self::new()?);
        TEMPLATE.set(Some((planted, Rc::clone(&template))));
        Ok(template)
    }

    fn new() -> Result<Self, Violation> {
        let template = Self {
            folder: files::folder()?,
        };
        let conn = Connection::open(template.server())?;
        server::make(&conn)?;
        drop(conn);
        server::prepare_file(&template.server())?;
        let environment = Box::new(SimEnvironment::new(&Clock::new(), 0));
        // The user's name is put right in each copy.
        Store::open(&template.device(), "", environment)
            .and_then(|mut store| store.install_first(&app::model().device))
            .map_err(|error| unexplained("a new store", &error))?;
        Ok(template)
    }

    /// The server's file.
    pub(crate) fn server(&self) -> PathBuf {
        self.folder.path().join("server.db")
    }

    /// The device's file.
    pub(crate) fn device(&self) -> PathBuf {
        self.folder.path().join("device.db")
    }
}
