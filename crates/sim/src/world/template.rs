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
    /// The thread's templates with one fault: faults may be in the tables.
    static TEMPLATE: RefCell<Vec<(Kind, Rc<Template>)>> = const { RefCell::new(Vec::new()) };
}

/// The fault that is planted, and whether there are rows that stay for a time.
type Kind = (Option<&'static str>, bool);

impl Template {
    /// The thread's template for worlds with this fault.
    pub(crate) fn of(planted: Option<&'static str>, is_timed: bool) -> Result<Rc<Self>, Violation> {
        let kind = (planted, is_timed);
        TEMPLATE.with_borrow_mut(|made| made.retain(|((fault, _), _)| *fault == planted));
        let made = TEMPLATE.with_borrow(|made| made.clone());
        if let Some((_, template)) = made.into_iter().find(|(of, _)| *of == kind) {
            return Ok(template);
        }
        let template = Rc::new(Self::new(is_timed)?);
        TEMPLATE.with_borrow_mut(|made| made.push((kind, Rc::clone(&template))));
        Ok(template)
    }

    fn new(is_timed: bool) -> Result<Self, Violation> {
        let template = Self {
            folder: files::folder()?,
        };
        let conn = Connection::open(template.server())?;
        server::make(&conn, is_timed)?;
        drop(conn);
        server::prepare_file(&template.server(), is_timed)?;
        let environment = Box::new(SimEnvironment::new(&Clock::new(), 0));
        // The user's name is put right in each copy.
        Store::open(&template.device(), "", environment)
            .and_then(|mut store| store.install_first(&app::model(is_timed).device))
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
