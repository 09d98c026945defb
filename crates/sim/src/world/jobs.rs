//! Projects that are open on a device, and what it asks for.

use std::collections::BTreeSet;

use super::World;
use super::device::{Done, unexplained};
use super::server::Request;
use crate::jobs;
use crate::violation::{Promise, Violation};

impl World {
    /// The app opens a project, or closes it.
    pub(super) fn open_project(
        &mut self,
        device: usize,
        project: u32,
        is_open: bool,
    ) -> Result<(), Violation> {
        let view = &self.records[device].view;
        if !view.has_model || !view.has_jobs {
            return Ok(());
        }
        let project = i64::from(project);
        let done = self.devices[device].with_store(|store| match is_open {
            true => store.choose(jobs::OPEN, project),
            false => store.unchoose(jobs::OPEN, project).map(|_| ()),
        })?;
        let until = self.clock.now_ms() + jobs::KEEP_MS;
        let open = &mut self.records[device].open;
        match done {
            Done::Well(()) if is_open => {
                self.tally.count("project opened");
                open.insert(project, until);
            }
            Done::Well(()) => {
                self.tally.count("project closed");
                open.remove(&project);
            }
            Done::Refused(error) => return Err(unexplained("a project is opened", &error)),
            Done::Died { power } => {
                // Whether it came to that, its file says.
                let sql = "SELECT count(*) > 0 FROM afield_chosen WHERE value = ?1";
                let other = &self.devices[device].other;
                if !other.query_row(sql, [project], |row| row.get(0))? {
                    open.remove(&project);
                } else if is_open {
                    let sql = "SELECT until FROM afield_chosen WHERE value = ?1";
                    open.insert(project, other.query_row(sql, [project], |row| row.get(0))?);
                }
                return self.died(device, power);
            }
        }
        Ok(())
    }

    /// A request that pulls projects asks for those that are open, and for no others.
    pub(super) fn asks(&mut self, device: usize, request: &Request) -> Result<(), Violation> {
        let mut pulled = request.hello.pull.iter();
        if !pulled.any(|(entity, _)| entity == "project") {
            return Ok(());
        }
        let now = self.clock.now_ms();
        let record = &mut self.records[device];
        let open = record.open.iter().filter(|(_, until)| **until > now);
        let open: BTreeSet<i64> = open.map(|(project, _)| *project).collect();
        record.asked = jobs::open(&request.chosen);
        if record.asked == open {
            return Ok(());
        }
        let invariant = "a device asks for what its user has chosen";
        let detail = format!("d{device}: asks for {:?}, open {open:?}", record.asked);
        Err(Violation::new(Promise::P5, invariant, detail))
    }
}
