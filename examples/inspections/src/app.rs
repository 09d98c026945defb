//! What the app knows, and what each key does.

use std::collections::HashMap;
use std::sync::Arc;

use afield::engine::SyncStatus;
use afield::event::SyncEvent;
use afield::native::Client;
use afield::network::{NetworkInfo, NetworkType};
use afield::protocol::{Key, Value};
use afield::retry::FailureClass;
use afield::{ChangeInfo, ChangeState, ConflictInfo, Error, Status, Watch};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::conflict::Decision;
use crate::pages::{self, Page};

/// What the main loop does after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Stay,
    Sync,
    Quit,
}

/// A change that is not settled, as the list shows it.
pub(crate) struct Waiting {
    pub(crate) info: ChangeInfo,
    /// What a person calls the row.
    pub(crate) name: String,
}

/// The whole app.
pub(crate) struct App {
    pub(crate) client: Arc<Client>,
    pub(crate) pages: Vec<Page>,
    pub(crate) status: Status,
    pub(crate) changes: Vec<Waiting>,
    pub(crate) conflicts: Vec<ConflictInfo>,
    /// What rows with unsettled changes are marked with.
    pub(crate) marks: HashMap<(String, Key), &'static str>,
    pub(crate) syncing: bool,
    /// How far the sync at hand has come, in words.
    pub(crate) progress: Option<String>,
    /// The newest thing to tell the user, and whether it is a trouble.
    pub(crate) note: (String, bool),
    pub(crate) now_ms: i64,
    watch: Watch,
}

impl App {
    pub(crate) fn new(client: Arc<Client>, now_ms: i64) -> Result<Self, Error> {
        let watch = client.watch("SELECT * FROM business, inspection, violation, contact")?;
        let mut app = Self {
            client,
            pages: vec![Page::businesses()],
            status: Status::default(),
            changes: Vec::new(),
            conflicts: Vec::new(),
            marks: HashMap::new(),
            syncing: false,
            progress: None,
            note: (String::new(), false),
            now_ms,
            watch,
        };
        app.read()?;
        Ok(app)
    }

    /// Time has passed; reads again what somebody else changed.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        if self.watch.take() > 0 {
            self.refresh();
        }
    }

    /// The library tells something.
    pub(crate) fn hear(&mut self, event: &SyncEvent) {
        match event {
            SyncEvent::Started { .. } => self.syncing = true,
            SyncEvent::Progress(progress) => {
                let percent = progress.percent.filter(|percent| *percent < 100);
                self.progress = percent.map(|percent| format!("{percent} %"));
                return;
            }
            SyncEvent::Completed { status, pushed, .. } => {
                self.ended();
                if *status == SyncStatus::Incomplete {
                    let text = "Not everything could be applied: press c to see and decide.";
                    self.note = (text.to_owned(), true);
                } else if *pushed > 0 {
                    let text = format!("{} sent and applied.", counted(*pushed, "change"));
                    self.note = (text, false);
                }
            }
            SyncEvent::Failed { class, message, .. } => {
                self.ended();
                // Without a network nothing is wrong: the line of status says so.
                if *class == Some(FailureClass::Permanent) {
                    self.note = (message.clone(), true);
                }
            }
            SyncEvent::SignIn { is_needed: true } => {
                let text = "The server wants you to sign in: press l. What you write is kept.";
                self.note = (text.to_owned(), true);
            }
            _ => {}
        }
        self.refresh();
    }

    fn ended(&mut self) {
        (self.syncing, self.progress) = (false, None);
    }

    /// A key was pressed.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Flow {
        self.note.0.clear();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Flow::Quit;
        }
        let flow = match self.pages.last_mut() {
            Some(Page::Form(_)) => self.in_form(key.code, control),
            Some(Page::Businesses { typing: true, .. }) => self.in_search(key.code),
            Some(Page::Conflict(_)) => self.in_conflict(key.code),
            _ => self.in_page(key.code),
        };
        self.refresh();
        flow
    }

    fn in_page(&mut self, key: KeyCode) -> Flow {
        match key {
            KeyCode::Char('q') => return Flow::Quit,
            KeyCode::Char('s') => return Flow::Sync,
            KeyCode::Char('o') => return self.toggle_network(),
            KeyCode::Char('l') if self.client.needs_sign_in() => {
                self.pages
                    .push(Page::Form(pages::sign_in(self.client.user())));
            }
            KeyCode::Char('c') if !matches!(self.pages.last(), Some(Page::Changes { .. })) => {
                self.pages.push(Page::Changes { at: 0 });
            }
            KeyCode::Esc | KeyCode::Left if self.pages.len() > 1 => {
                self.pages.pop();
            }
            KeyCode::Down => self.moved(1),
            KeyCode::Up => self.moved(-1),
            KeyCode::PageDown => self.moved(15),
            KeyCode::PageUp => self.moved(-15),
            _ => self.in_list(key),
        }
        Flow::Stay
    }

    /// Keys that mean something on one page only.
    fn in_list(&mut self, key: KeyCode) {
        let next = match (self.pages.last_mut(), key) {
            (Some(Page::Businesses { typing, search, .. }), KeyCode::Char('/')) => {
                search.clear();
                *typing = true;
                None
            }
            (Some(Page::Businesses { rows, at, .. }), KeyCode::Enter) => {
                rows.get(*at).map(|row| Page::Business {
                    row: Box::new(row.clone()),
                    rows: Vec::new(),
                    at: 0,
                })
            }
            (Some(Page::Business { row, .. }), KeyCode::Char('e')) => {
                Some(Page::Form(pages::edit_business(row)))
            }
            (Some(Page::Business { row, .. }), KeyCode::Char('n')) => {
                Some(Page::Form(pages::plan(row)))
            }
            (Some(Page::Business { rows, at, .. }), KeyCode::Enter) => {
                rows.get(*at).map(|row| Page::Inspection {
                    row: Box::new(row.clone()),
                    inspector: String::new(),
                    rows: Vec::new(),
                })
            }
            (Some(Page::Inspection { row, .. }), KeyCode::Char('e')) => {
                Some(Page::Form(pages::edit_inspection(row)))
            }
            (Some(Page::Inspection { row, rows, .. }), KeyCode::Char('v')) => {
                Some(Page::Form(pages::add_violation(row, rows)))
            }
            (Some(Page::Changes { at }), key) => {
                let at = *at;
                return self.in_changes(at, key);
            }
            _ => None,
        };
        self.pages.extend(next);
    }

    fn in_changes(&mut self, at: usize, key: KeyCode) {
        let Some(Waiting { info, name }) = self.changes.get(at) else {
            return;
        };
        let conflict = self.conflicts.iter().find(|it| it.conflict == info.change);
        let change = info.change.clone();
        let done = match (key, conflict) {
            (KeyCode::Enter, Some(conflict)) => {
                self.pages.push(Page::Conflict(Decision::new(
                    conflict.clone(),
                    name.clone(),
                )));
                return;
            }
            (KeyCode::Char('r' | 'd'), None) if info.state != ChangeState::Parked => {
                let text = "Only a refused change can be sent again or given up.";
                self.note = (text.to_owned(), false);
                return;
            }
            (KeyCode::Char('u'), _) => {
                let undone = self.client.store().undo(&change);
                undone.map(|_| "Taken back; the row is as it was without it.")
            }
            (KeyCode::Char('r'), None) => {
                self.pages.push(Page::Form(pages::again(info)));
                return;
            }
            (KeyCode::Char('d'), None) => {
                let dropped = self.client.store().drop_change(&change);
                dropped.map(|()| "Given up; the row is as it was without it.")
            }
            _ => return,
        };
        match done {
            Ok(text) => self.note = (text.to_owned(), false),
            Err(error) => self.trouble(&error),
        }
    }

    fn in_conflict(&mut self, key: KeyCode) -> Flow {
        let Some(Page::Conflict(decision)) = self.pages.last_mut() else {
            return Flow::Stay;
        };
        if key == KeyCode::Esc {
            self.pages.pop();
            return Flow::Stay;
        }
        let Some(resolution) = decision.press(key) else {
            return Flow::Stay;
        };
        let conflict = decision.info.conflict.clone();
        let decided = self.client.store().resolve(&conflict, &resolution);
        match decided {
            Ok(_) => {
                self.pages.pop();
                self.note = ("Decided.".to_owned(), false);
                return Flow::Sync;
            }
            Err(error) => self.trouble(&error),
        }
        Flow::Stay
    }

    fn in_search(&mut self, key: KeyCode) -> Flow {
        if let Some(Page::Businesses {
            search, typing, at, ..
        }) = self.pages.last_mut()
        {
            match key {
                KeyCode::Enter => *typing = false,
                KeyCode::Esc => {
                    *typing = false;
                    search.clear();
                }
                KeyCode::Backspace => {
                    search.pop();
                }
                KeyCode::Char(c) => search.push(c),
                _ => {}
            }
            *at = 0;
        }
        Flow::Stay
    }

    fn in_form(&mut self, key: KeyCode, control: bool) -> Flow {
        let Some(Page::Form(form)) = self.pages.last_mut() else {
            return Flow::Stay;
        };
        match key {
            KeyCode::Esc => {
                self.pages.pop();
            }
            KeyCode::Char('a') if control => {
                if matches!(form.target, crate::form::Target::Plan(_)) {
                    form.at = form.lines.len();
                    form.lines.extend(pages::violation_lines());
                }
            }
            KeyCode::Enter => match pages::save(&self.client, form) {
                Ok(text) => {
                    self.pages.pop();
                    self.note = (text.to_owned(), false);
                    return Flow::Sync;
                }
                Err(message) => self.note = (message, true),
            },
            key => form.press(key),
        }
        Flow::Stay
    }

    /// The user says what a platform would say.
    fn toggle_network(&mut self) -> Flow {
        let is_off = self.client.network().info.kind == NetworkType::None;
        let kind = match is_off {
            true => NetworkType::Unknown,
            false => NetworkType::None,
        };
        if let Err(error) = self.client.set_network(NetworkInfo::of(kind)) {
            self.trouble(&error);
        }
        match is_off {
            true => Flow::Sync,
            false => Flow::Stay,
        }
    }

    fn moved(&mut self, by: isize) {
        let changes = self.changes.len();
        let (at, count) = match self.pages.last_mut() {
            Some(Page::Businesses { at, rows, .. }) => (at, rows.len()),
            Some(Page::Business { at, rows, .. }) => (at, rows.len()),
            Some(Page::Changes { at }) => (at, changes),
            _ => return,
        };
        *at = at.saturating_add_signed(by).min(count.saturating_sub(1));
    }

    fn refresh(&mut self) {
        if let Err(error) = self.read() {
            self.trouble(&error);
        }
    }

    fn trouble(&mut self, error: &Error) {
        self.note = (error.to_string(), true);
    }

    /// Reads everything that is shown from the store.
    fn read(&mut self) -> Result<(), Error> {
        self.status = self.client.status()?;
        let mut store = self.client.store();
        self.conflicts = store.conflicts()?;
        let mut shown = store.changes()?;
        // What somebody at the desk decided is told, behind what still waits.
        shown.retain(|info| is_open(info.state) || info.decided.is_some());
        shown.sort_by_key(|info| !is_open(info.state));
        let named = |info: ChangeInfo| Waiting {
            name: pages::name_of(&store, &info.entity, &info.key),
            info,
        };
        self.changes = shown.into_iter().map(named).collect();
        let marks = self.waiting().map(|Waiting { info, .. }| {
            let is_conflict = self.conflicts.iter().any(|it| it.conflict == info.change);
            let mark = word(info.state, is_conflict);
            ((info.entity.clone(), info.key.clone()), mark)
        });
        self.marks = marks.collect();
        while let Some(page) = self.pages.last_mut() {
            if page.read(&mut store)? {
                break;
            }
            self.pages.pop();
            self.note = ("It is no longer on this device.".to_owned(), true);
        }
        if let Some(Page::Changes { at }) = self.pages.last_mut() {
            *at = (*at).min(self.changes.len().saturating_sub(1));
        }
        Ok(())
    }

    /// The changes that are not settled.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        let shown = self.changes.iter();
        shown.filter(|waiting| is_open(waiting.info.state))
    }

    /// The mark of a row.
    pub(crate) fn mark(&self, entity: &str, key: &[Value]) -> &'static str {
        let row = (entity.to_owned(), key.to_vec());
        self.marks.get(&row).copied().unwrap_or("")
    }
}

fn is_open(state: ChangeState) -> bool {
    !matches!(state, ChangeState::Settled | ChangeState::Dropped)
}

/// What a change's state is called on the screen.
pub(crate) fn word(state: ChangeState, is_conflict: bool) -> &'static str {
    match state {
        ChangeState::Parked if is_conflict => "conflict",
        ChangeState::Parked => "refused",
        ChangeState::Settled | ChangeState::Dropped => "decided",
        state => state.as_str(),
    }
}

pub(crate) fn counted(n: u64, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}
