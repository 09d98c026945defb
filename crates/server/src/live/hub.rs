//! All streams and the users behind them: what a look is asked for, and who is told what of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use afield_protocol::{Code, Held};
use serde_json::{Value as Json, json};

use super::mine::{Mine, Values};
use super::stream::{COMMENT, Shared, event};
use super::turns::Turns;
use super::{Full, Listener, LiveLimits};
use crate::auth::LEEWAY_S;
use crate::resolved::ServerModel;
use crate::storage::live::{Look, Moment, Touched, TouchedHeld, Value, Watched, digest};
use crate::storage::{Caller, StorageError};

/// Users whose values one look asks about: the others' turn comes with the next looks.
const ASKED_MAX: usize = 256;

/// After so long a user's values are asked again, whatever was touched: they may depend on the
/// time, or on tables that the database does not say are read.
const ASKED_AGAIN_MS: u64 = 60_000;

/// After so long a device whose app chooses its values is told that there may be news, if anything
/// was committed.
const CHOSEN_APART_MS: u64 = 30_000;

/// Values that are kept of all users together: 64 MiB, if nobody shares any with another.
const VALUES_MAX: usize = 1_000_000;

/// Claims that change with every token and say nothing of what is held.
const OF_TOKENS: [&str; 4] = ["exp", "iat", "nbf", "jti"];

pub(super) struct Hub {
    /// The entities of each unit, by their places, and its name.
    units: Vec<(String, Vec<usize>)>,
    names: Vec<String>,
    streams: HashMap<u64, Stream>,
    streams_max: usize,
    last_id: u64,
    users: HashMap<Arc<str>, User>,
    streams_of: HashMap<String, usize>,
    values: Values,
    values_count: usize,
    turns: Turns,
    moment: Option<Moment>,
    watched: Option<Arc<Watched>>,
    /// Whose holdings the look that is under way asks about.
    asking: Vec<Arc<str>>,
    is_looking: bool,
    is_stopping: bool,
}

/// Everybody whose token says the same.
struct User {
    caller: Caller,
    streams: usize,
    /// `None` before the first answer.
    mine: Option<Vec<Mine>>,
    asked_ms: u64,
    /// For each entity whether what says what is held was touched since; empty if nothing was.
    stale: Vec<TouchedHeld>,
    /// Entities of which a device was told that something else is held.
    differs: BTreeSet<usize>,
}

struct Stream {
    user: Arc<str>,
    units: Arc<[usize]>,
    shared: Arc<Shared>,
    ends_s: i64,
    is_greeted: bool,
    /// When its device is to synchronise, if that is still to come.
    turn_ms: u64,
    /// When anything was sent, and when anything that counts as a sign of life.
    sent_ms: u64,
    alive_ms: u64,
    /// When it was told to synchronise.
    told_ms: u64,
    /// There may be news of which nobody can say here whether there are.
    is_in_doubt: bool,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// A stream has not begun, or it is not known yet what somebody holds.
    Look,
    /// Nobody is there any more.
    End,
}

pub(super) struct Opened {
    pub id: u64,
    pub shared: Arc<Shared>,
    pub is_first: bool,
}

impl Hub {
    pub(super) fn new(model: &ServerModel, limits: &LiveLimits) -> Self {
        let place = |name: &String| {
            let mut entities = model.entities.iter();
            entities.position(|entity| entity.local.name == *name)
        };
        let units = model.device.units.iter();
        Self {
            units: units
                .map(|unit| {
                    let entities = unit.entities.iter().filter_map(place).collect();
                    (unit.name.clone(), entities)
                })
                .collect(),
            names: (model.entities.iter())
                .map(|entity| entity.local.name.clone())
                .collect(),
            streams: HashMap::new(),
            streams_max: limits.streams,
            last_id: 0,
            users: HashMap::new(),
            streams_of: HashMap::new(),
            values: Values::default(),
            values_count: 0,
            turns: Turns::new(limits.rate),
            moment: None,
            watched: None,
            asking: Vec::new(),
            is_looking: false,
            is_stopping: false,
        }
    }

    pub(super) fn bound(&mut self, streams: usize) {
        self.streams_max = self.streams_max.min(streams);
    }

    pub(super) fn open(
        &mut self,
        who: Listener,
        limits: &LiveLimits,
        now_ms: u64,
    ) -> Result<Opened, Full> {
        if self.is_stopping || self.streams.len() >= self.streams_max {
            return Err(Full::Server);
        }
        let user = who.caller.user.clone();
        let count = self.streams_of.get(&user).copied().unwrap_or(0);
        if count >= limits.streams_of_user {
            return Err(Full::User);
        }
        self.streams_of.insert(user, count + 1);
        let key = key(&who.caller);
        let known = self.users.entry(Arc::clone(&key)).or_insert(User {
            caller: who.caller,
            streams: 0,
            mine: None,
            asked_ms: 0,
            stale: Vec::new(),
            differs: BTreeSet::new(),
        });
        known.streams += 1;
        let shared: Arc<Shared> = Arc::default();
        self.last_id += 1;
        let stream = Stream {
            user: key,
            units: who.units,
            shared: Arc::clone(&shared),
            ends_s: who.ends_s.saturating_add(LEEWAY_S),
            is_greeted: false,
            turn_ms: 0,
            sent_ms: now_ms,
            alive_ms: now_ms,
            told_ms: 0,
            is_in_doubt: false,
        };
        self.streams.insert(self.last_id, stream);
        Ok(Opened {
            id: self.last_id,
            shared,
            is_first: !std::mem::replace(&mut self.is_looking, true),
        })
    }

    pub(super) fn close(&mut self, id: u64) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        let Some(user) = self.users.get_mut(&stream.user) else {
            return;
        };
        let name = user.caller.user.clone();
        user.streams -= 1;
        if user.streams == 0 {
            let gone = self.users.remove(&stream.user);
            let mine = gone.and_then(|user| user.mine).unwrap_or_default();
            self.values_count -= mine.iter().map(Mine::size).sum::<usize>();
            self.watched = None;
        }
        if let Some(count) = self.streams_of.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                self.streams_of.remove(&name);
            }
        }
    }

    /// Ends streams; their places are free at once, however long the last bytes take.
    fn end(&mut self, ids: Vec<u64>, code: &Code) {
        for id in ids {
            if let Some(stream) = self.streams.get(&id) {
                stream.shared.end(code);
            }
            self.close(id);
        }
    }

    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        let all = self.streams.keys().copied().collect();
        self.end(all, &Code::RESTARTING);
    }

    pub(super) fn pulled(&mut self, caller: &Caller, held: &[Held]) {
        // Another token of the same user may say that he holds something else.
        let is_here = self.streams_of.contains_key(&caller.user);
        let known = is_here.then(|| self.users.get_mut(&key(caller))).flatten();
        let Some(User { mine, differs, .. }) = known else {
            return;
        };
        let mine = mine.as_deref().unwrap_or_default();
        for held in held {
            let at = self.names.iter().position(|name| *name == held.entity);
            let expected = at.and_then(|at| Some((at, mine.get(at)?.digest()?)));
            if let Some((at, expected)) = expected
                && expected != digest(&held.gained)
            {
                differs.insert(at);
            }
        }
    }

    /// What somebody waits for.
    pub(super) fn wanted(&self) -> Wanted {
        if self.streams.is_empty() {
            return Wanted::End;
        }
        let mut streams = self.streams.values();
        let mut users = self.users.values();
        match streams.any(|it| !it.is_greeted) || users.any(|it| !it.stale.is_empty()) {
            true => Wanted::Look,
            false => Wanted::Nothing,
        }
    }

    pub(super) fn begin_look(&mut self) -> Option<(Option<Moment>, Arc<Watched>)> {
        if self.streams.is_empty() {
            self.is_looking = false;
            self.moment = None;
            return None;
        }
        let watched = match &self.watched {
            Some(watched) => Arc::clone(watched),
            None => Arc::new(self.watch()),
        };
        self.watched = Some(Arc::clone(&watched));
        Some((self.moment.clone(), watched))
    }

    /// What all users hold together.
    fn watch(&self) -> Watched {
        let mut entities: Vec<BTreeMap<usize, BTreeSet<&Value>>> = Vec::new();
        entities.resize_with(self.names.len(), BTreeMap::new);
        for mine in self.users.values().filter_map(|user| user.mine.as_ref()) {
            for (mine, watched) in mine.iter().zip(&mut entities) {
                for (column, value) in mine.watched() {
                    watched.entry(column).or_default().insert(value);
                }
            }
        }
        let of_column = |(column, values): (usize, BTreeSet<&Value>)| {
            (column, values.into_iter().cloned().collect())
        };
        let of_entity = |columns: BTreeMap<_, _>| columns.into_iter().map(of_column).collect();
        Watched {
            entities: entities.into_iter().map(of_entity).collect(),
        }
    }

    pub(super) fn asked(&mut self, touched: &Touched, now_ms: u64) -> Vec<Caller> {
        for user in self.users.values_mut() {
            user.note(touched);
        }
        let urgency = |user: &User| match (&user.mine, user.stale.is_empty()) {
            (None, _) => Some(0),
            (Some(_), false) => Some(1),
            (Some(mine), true) => {
                let is_old = now_ms >= user.asked_ms + ASKED_AGAIN_MS;
                let can_differ = mine.iter().any(|mine| mine.digest().is_some());
                (is_old && can_differ).then_some(2)
            }
        };
        let users = self.users.iter();
        let mut asked: Vec<(u8, u64, &Arc<str>, &User)> = users
            .filter_map(|(key, user)| Some((urgency(user)?, user.asked_ms, key, user)))
            .collect();
        asked.sort_unstable_by_key(|(urgency, asked_ms, ..)| (*urgency, *asked_ms));
        asked.truncate(ASKED_MAX);
        let callers = asked.iter().map(|(.., user)| user.caller.clone()).collect();
        let keys = asked.iter().map(|(.., key, _)| Arc::clone(key)).collect();
        self.asking = keys;
        callers
    }

    pub(super) fn tell(&mut self, look: Look, limits: &LiveLimits, now_ms: u64) {
        let mut news = self.learn(look.held, now_ms);
        let touched = look.touched;
        for (key, user) in &mut self.users {
            let Some(mine) = &user.mine else { continue };
            let found = news.entry(Arc::clone(key)).or_default();
            found.extend(std::mem::take(&mut user.differs));
            if touched.is_everything {
                found.extend(0..mine.len());
            }
            for (at, (mine, touched)) in mine.iter().zip(&touched.entities).enumerate() {
                if mine.is_touched(touched) {
                    found.insert(at);
                }
            }
        }
        self.moment = Some(look.moment);
        let mut gone = Vec::new();
        for (id, stream) in &mut self.streams {
            let Some(user) = self.users.get(&stream.user) else {
                continue;
            };
            let Some(mine) = &user.mine else { continue };
            let found = news.get(&stream.user);
            let is_news = |unit: &&usize| {
                let entities = self.units.get(**unit).map_or(&[][..], |(_, all)| all);
                found.is_some_and(|found| entities.iter().any(|at| found.contains(at)))
            };
            let chooses = |unit: &&usize| {
                let entities = self.units.get(**unit).map_or(&[][..], |(_, all)| all);
                let is_chosen = |at: &usize| matches!(mine.get(*at), Some(Mine::Chosen));
                entities.iter().any(is_chosen)
            };
            stream.is_in_doubt |= touched.is_anything && stream.units.iter().any(|it| chooses(&it));
            let mut told: Vec<usize> = stream.units.iter().filter(is_news).copied().collect();
            if stream.is_in_doubt && now_ms >= stream.told_ms + CHOSEN_APART_MS {
                told.extend(stream.units.iter().filter(chooses));
                told.sort_unstable();
                told.dedup();
                stream.is_in_doubt = false;
            }
            let is_known = user.stale.is_empty() && !stream.is_in_doubt;
            let names = told.iter().filter_map(|unit| self.units.get(*unit));
            let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
            if !stream.tell(&names, is_known, &mut self.turns, limits, now_ms) {
                gone.push(*id);
            }
        }
        gone.into_iter().for_each(|id| self.close(id));
    }

    /// Takes in what users hold; what is not what it was is news.
    fn learn(
        &mut self,
        held: Vec<Result<crate::storage::live::Holdings, StorageError>>,
        now_ms: u64,
    ) -> HashMap<Arc<str>, BTreeSet<usize>> {
        let mut news: HashMap<Arc<str>, BTreeSet<usize>> = HashMap::new();
        let mut refused = Vec::new();
        for (key, held) in std::mem::take(&mut self.asking).into_iter().zip(held) {
            let Some(user) = self.users.get_mut(&key) else {
                continue;
            };
            let held = match held {
                Ok(held) => held,
                Err(error) => {
                    refused.push((key, error.code));
                    continue;
                }
            };
            let mine = Mine::all(held, &mut self.values);
            let before = user.mine.as_deref().unwrap_or_default();
            let size = |mine: &[Mine]| mine.iter().map(Mine::size).sum::<usize>();
            self.values_count = self.values_count + size(&mine) - size(before);
            let found = news.entry(Arc::clone(&key)).or_default();
            for (at, (before, now)) in before.iter().zip(&mine).enumerate() {
                let may_have_differed = user.stale.get(at) == Some(&TouchedHeld::Several);
                if before.digest() != now.digest() || may_have_differed {
                    found.insert(at);
                }
            }
            user.mine = Some(mine);
            user.stale.clear();
            user.asked_ms = now_ms;
            self.watched = None;
            if self.values_count > VALUES_MAX {
                refused.push((key, Code::BUSY));
            }
        }
        for (key, code) in refused {
            let of_user = self.streams.iter().filter(|(_, it)| it.user == key);
            let ids = of_user.map(|(id, _)| *id).collect();
            self.end(ids, &code);
        }
        news
    }

    pub(super) fn tick(&mut self, limits: &LiveLimits, (now_ms, now_s): (u64, i64)) {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let stalled_before = now_ms.saturating_sub(ms(limits.stall));
        let (mut ended, mut gone) = (Vec::new(), Vec::new());
        for (id, stream) in &mut self.streams {
            if stream.ends_s <= now_s {
                ended.push(*id);
                continue;
            }
            let mut is_gone = stream.shared.gives_up(stalled_before);
            if now_ms >= stream.sent_ms + ms(limits.heartbeat) {
                stream.sent_ms = now_ms;
                is_gone |= !stream.shared.send(COMMENT, now_ms);
            }
            if is_gone {
                gone.push(*id);
            }
        }
        self.end(ended, &Code::SIGN_IN);
        gone.into_iter().for_each(|id| self.close(id));
    }
}

impl User {
    /// Notes what was touched that says what is held.
    fn note(&mut self, touched: &Touched) {
        let Some(mine) = &self.mine else { return };
        for (at, mine) in mine.iter().enumerate() {
            let held = match touched.is_everything {
                true => TouchedHeld::Several,
                false => (touched.entities.get(at)).map_or(TouchedHeld::No, |it| it.held),
            };
            if held == TouchedHeld::No || mine.digest().is_none() {
                continue;
            }
            self.stale
                .resize(self.stale.len().max(at + 1), TouchedHeld::No);
            if let Some(stale) = self.stale.get_mut(at) {
                *stale = stale.and(held);
            }
        }
    }
}

impl Stream {
    /// Says hello, tells of news, or gives a sign of life, whatever is due. False if the device
    /// takes nothing.
    fn tell(
        &mut self,
        units: &[&str],
        is_known: bool,
        turns: &mut Turns,
        limits: &LiveLimits,
        now_ms: u64,
    ) -> bool {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let heartbeat_ms = ms(limits.heartbeat);
        let (name, data) = if !self.is_greeted {
            self.is_greeted = true;
            let after_ms = self.turn(turns, now_ms);
            let data = json!({ "after_ms": after_ms, "heartbeat_ms": heartbeat_ms });
            ("hello", data)
        } else if !units.is_empty() {
            let after_ms = self.turn(turns, now_ms);
            ("news", json!({ "units": units, "after_ms": after_ms }))
        } else if is_known && now_ms + ms(limits.poll) >= self.alive_ms + heartbeat_ms {
            ("alive", json!({}))
        } else {
            return true;
        };
        self.sent_ms = now_ms;
        self.alive_ms = now_ms;
        self.shared.send(&event(name, &data), now_ms)
    }

    /// In how many milliseconds its device is to synchronise. One that waits keeps its turn.
    fn turn(&mut self, turns: &mut Turns, now_ms: u64) -> u64 {
        self.told_ms = now_ms;
        if self.turn_ms <= now_ms {
            self.turn_ms = turns.take(now_ms);
        }
        self.turn_ms.saturating_sub(now_ms)
    }
}

/// The same for everybody whose token says the same.
fn key(caller: &Caller) -> Arc<str> {
    let claims = caller.claims.iter();
    let lasting = claims.filter(|(name, _)| !OF_TOKENS.contains(&name.as_str()));
    let lasting: BTreeMap<&String, &Json> = lasting.collect();
    json!([caller.user, lasting]).to_string().into()
}
