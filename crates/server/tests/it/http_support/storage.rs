//! A storage that does what the test says.

use std::sync::{Condvar, Mutex};

use afield_protocol::{
    Checkpoint, Closed, Code, Decided, Frame, Group, GroupId, GroupOutcome, History, LogEntry,
    Page, PageEnd, Part, RowBlockWriter, Value, Verdict,
};
use afield_server::resolved::ServerModel;
use afield_server::storage::inbox::{Decide, DecideOutcome, InboxEntry, InboxQuery};
use afield_server::storage::live::{Look, Moment, Touched, Watched};
use afield_server::storage::log::{LogLine, LogQuery};
use afield_server::storage::{
    Caller, PartTaken, PullRequest, PulledPage, Purged, Retention, Storage, StorageError,
};

/// What the storage is to do, and what it was asked.
#[derive(Default)]
pub(crate) struct StubStorage {
    pub(crate) script: Mutex<Script>,
    changed: Condvar,
}

/// See [`StubStorage`].
#[derive(Default)]
pub(crate) struct Script {
    /// Pages of a pull beyond the first.
    pub(crate) more_pages: u32,
    /// Bytes of the one row in each page.
    pub(crate) row_bytes: usize,
    /// The page whose pull fails.
    pub(crate) failing_page: Option<u32>,
    /// Whether failures may pass.
    pub(crate) is_retryable: bool,
    /// Panic instead of failing.
    pub(crate) panics: bool,
    /// Panic where nobody expects it: in `epoch`.
    pub(crate) epoch_panics: bool,
    pub(crate) push_fails: bool,
    pub(crate) health_fails: bool,
    pub(crate) log_fails: bool,
    /// Answer every pull with the position it came from.
    pub(crate) is_stuck: bool,
    /// Pulls wait until released.
    pub(crate) holds_pulls: bool,
    pub(crate) pulls: u32,
    pub(crate) pushed: Vec<(String, Group)>,
    pub(crate) logged: Vec<(Caller, LogEntry)>,
}

impl StubStorage {
    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(
            &mut self
                .script
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
        self.changed.notify_all();
    }

    pub(crate) fn pulls(&self) -> u32 {
        self.script.lock().unwrap().pulls
    }

    pub(crate) fn pushed(&self) -> Vec<(String, Group)> {
        self.script.lock().unwrap().pushed.clone()
    }

    /// Waits until a pull has begun.
    pub(crate) fn wait_for_pull(&self) {
        let script = self.script.lock().unwrap();
        drop(
            self.changed
                .wait_while(script, |script| script.pulls == 0)
                .unwrap(),
        );
    }

    pub(crate) fn release(&self) {
        self.set(|script| script.holds_pulls = false);
    }
}

impl Script {
    fn fail(&self) -> StorageError {
        assert!(!self.panics, "a panic on purpose");
        StorageError {
            code: if self.is_retryable {
                Code::BUSY
            } else {
                Code::INTERNAL
            },
            message: "table secret_table is broken".into(),
            is_retryable: self.is_retryable,
        }
    }
}

impl Storage for StubStorage {
    fn epoch(&self) -> [u8; 8] {
        let panics = self.script.lock().unwrap().epoch_panics;
        assert!(!panics, "a panic on purpose");
        [5; 8]
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new()
    }

    fn knows(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        Ok(checkpoint != b"another history")
    }

    fn lost(&self, _: &str, offered: &[History]) -> Result<Vec<GroupId>, StorageError> {
        Ok(offered.iter().flat_map(|it| it.groups.clone()).collect())
    }

    fn purge(&self, _: Retention, _: &mut dyn FnMut() -> bool) -> Result<Purged, StorageError> {
        Err(self.script.lock().unwrap().fail())
    }

    fn pull(&self, model: &ServerModel, request: &PullRequest) -> Result<PulledPage, StorageError> {
        let mut script = self.script.lock().unwrap();
        script.pulls += 1;
        self.changed.notify_all();
        let script = self
            .changed
            .wait_while(script, |script| script.holds_pulls)
            .unwrap();
        let (name, position) = &request.entities[0];
        let at = position
            .as_ref()
            .map_or(0, |p| u32::from_be_bytes(p[..].try_into().unwrap()));
        if script.failing_page == Some(at) {
            let error = script.fail();
            drop(script);
            return Err(error);
        }
        let entity = &model.entity(name).unwrap().local;
        let mut rows = RowBlockWriter::new(name, &entity.columns());
        let note = Value::from(format!("row {at}"));
        let photo = Value::Bytes(vec![7; script.row_bytes]);
        let id = Value::Integer(i64::from(at));
        rows.push([id.as_ref(), note.as_ref(), photo.as_ref()]);
        let next = if script.is_stuck { at } else { at + 1 };
        let end = PageEnd {
            to: vec![(name.clone(), next.to_be_bytes().to_vec())],
            complete: at >= script.more_pages && !script.is_stuck,
            remaining: None,
        };
        let page = Page {
            from: request.entities.clone(),
            reset: Vec::new(),
        };
        let frames = vec![
            Frame::Page(page),
            Frame::Rows(rows.take()),
            Frame::PageEnd(end.clone()),
        ];
        Ok(PulledPage {
            frames,
            end,
            held: Vec::new(),
        })
    }

    fn push(
        &self,
        _model: &ServerModel,
        caller: &Caller,
        groups: &[Group],
    ) -> Result<Vec<GroupOutcome>, StorageError> {
        let mut script = self.script.lock().unwrap();
        if script.push_fails {
            let error = script.fail();
            drop(script);
            return Err(error);
        }
        script.pushed.extend(
            groups
                .iter()
                .map(|group| (caller.user.clone(), group.clone())),
        );
        let outcome = |group: &Group| GroupOutcome {
            group: group.id,
            verdicts: vec![Verdict::applied(); group.changes.len()],
        };
        Ok(groups.iter().map(outcome).collect())
    }

    fn take_part(&self, _user: &str, part: &Part) -> Result<PartTaken, StorageError> {
        Ok(PartTaken::Kept(part.at))
    }

    fn forget_parts(&self, _user: &str, _group: GroupId) -> Result<(), StorageError> {
        Ok(())
    }

    fn look(
        &self,
        _: &ServerModel,
        _: Option<&Moment>,
        _: &Watched,
        _: &mut dyn FnMut(&Touched) -> Vec<Caller>,
    ) -> Result<Look, StorageError> {
        Err(self.script.lock().unwrap().fail())
    }

    fn inbox(&self, _: &InboxQuery) -> Result<Vec<InboxEntry>, StorageError> {
        Ok(Vec::new())
    }

    fn decide(&self, _: &ServerModel, _: &Decide) -> Result<DecideOutcome, StorageError> {
        Ok(DecideOutcome::Unknown)
    }

    fn decisions(&self, _: &ServerModel, _: &Caller) -> Result<Vec<Decided>, StorageError> {
        Ok(Vec::new())
    }

    fn close(&self, _: &str, _: &[Closed]) -> Result<(), StorageError> {
        Ok(())
    }

    fn log(&self, caller: &Caller, entries: &[LogEntry]) -> Result<(), StorageError> {
        let mut script = self.script.lock().unwrap();
        if script.log_fails {
            return Err(script.fail());
        }
        let entries = entries.iter().cloned();
        (script.logged).extend(entries.map(|entry| (caller.clone(), entry)));
        Ok(())
    }

    fn logs(&self, _: &LogQuery) -> Result<Vec<LogLine>, StorageError> {
        Ok(Vec::new())
    }

    fn health(&self) -> Result<(), StorageError> {
        let script = self.script.lock().unwrap();
        if script.health_fails {
            Err(script.fail())
        } else {
            Ok(())
        }
    }
}
