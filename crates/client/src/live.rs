//! Listening for news: what a device does about what a live stream says (`spec/protocol.md`,
//! "Live").
//!
//! ```text
//!   closed ──(due)──► opening ──► hello ──► news, alive, … ──► end, or silence
//!      ▲                 │                                          │
//!      └──── a pause, random and growing ◄──────────────────────────┘
//! ```
//!
//! It performs nothing; a driver opens the stream, says what came of it, and begins the syncs that
//! are due. A unit is *behind* from the event that says so until a sync of it is through that began
//! afterwards: a sync that began earlier may not have seen what the event is about. Times are
//! milliseconds of any clock that only goes forward.

use std::collections::BTreeMap;

use crate::backoff::pause;
use crate::queue::Wanted;
use crate::sse::Message;

/// The first pause before the next stream; it doubles.
const PAUSE_MS: i64 = 1_000;

/// The longest such pause.
const PAUSE_MAX_MS: i64 = 60_000;

/// A stream that lasted so long was a good one: the next pause is short again.
const GOOD_MS: i64 = 60_000;

/// The pause after a server that knows no streams.
const UNKNOWN_MS: i64 = 60 * 60 * 1_000;

/// How long a stream may be silent before its first event has said more.
const FIRST_MS: i64 = 30_000;

/// The pause before units that are behind are synchronised once more, if the sync did not go
/// through and nobody tries it again.
const AGAIN_MS: i64 = 60_000;

/// The longest turn that a server may give, and the longest heartbeat: a mistake must not silence a
/// device for good.
const LONGEST_MS: i64 = 60 * 60 * 1_000;

/// Why a stream is over, or was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It ended, or the network did.
    Ended,
    /// The server asks to wait so many milliseconds.
    Busy(Option<i64>),
    /// The token is refused.
    SignIn,
    /// The server knows no streams.
    Unknown,
    /// The server will not have this user again before the next start of the app.
    Forbidden,
}

/// What is known by listening.
#[derive(Debug, Default)]
pub struct Live {
    is_on: bool,
    state: State,
    /// The units that the stream is about.
    units: Vec<String>,
    /// Units that are behind, with the event that said so.
    behind: BTreeMap<String, u64>,
    /// Counts events.
    newest: u64,
    /// The newest event when the running sync began.
    begun_at: u64,
    /// When a sync of what is behind is to begin.
    turn: Option<i64>,
    attempts: u32,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    /// No stream, and none is wanted before this time.
    Closed(i64),
    /// No stream until something changes.
    #[default]
    Waiting,
    /// A stream, or one that is being opened.
    Open(Stream),
}

#[derive(Debug, PartialEq)]
struct Stream {
    opened: i64,
    /// When anything came last.
    heard: i64,
    /// When an event came last: the server looked, or told.
    sign: Option<i64>,
    heartbeat: i64,
}

impl Live {
    /// From now on there is to be a stream, or none.
    pub fn turn_on(&mut self, is_on: bool, now: i64) {
        if is_on && !self.is_on {
            (self.state, self.attempts) = (State::Closed(now), 0);
        } else if !is_on {
            self.state = State::Waiting;
            self.turn = None;
        }
        self.is_on = is_on;
    }

    /// There is another token, or another network: a stream is worth another try.
    pub fn try_again(&mut self, now: i64) {
        if self.is_on && !matches!(self.state, State::Open(_)) {
            (self.state, self.attempts) = (State::Closed(now), 0);
        }
    }

    /// Whether a stream is to be opened now, about these units; it is being opened then.
    pub fn open(&mut self, now: i64) -> bool {
        match self.state {
            State::Closed(at) if at <= now => {
                self.state = State::Open(Stream {
                    opened: now,
                    heard: now,
                    sign: None,
                    heartbeat: FIRST_MS / 2,
                });
                true
            }
            _ => false,
        }
    }

    /// The units of the model.
    pub fn set_units(&mut self, units: Vec<String>) {
        self.behind.retain(|unit, _| units.contains(unit));
        self.units = units;
    }

    /// Something came.
    pub fn heard(&mut self, message: &Message, now: i64) -> Option<Closed> {
        let State::Open(stream) = &mut self.state else {
            return None;
        };
        stream.heard = now;
        let Message::Event { name, data } = message else {
            return None;
        };
        let json: serde_json::Value = serde_json::from_str(data).ok()?;
        let number = |name: &str| json.get(name).and_then(serde_json::Value::as_i64);
        let after = number("after_ms").unwrap_or(0).clamp(0, LONGEST_MS);
        match name.as_str() {
            "hello" => {
                let heartbeat = number("heartbeat_ms").unwrap_or(stream.heartbeat);
                stream.heartbeat = heartbeat.clamp(1_000, LONGEST_MS);
                stream.sign = Some(now);
                let units = self.units.clone();
                self.put_behind(&units, now.saturating_add(after));
            }
            "news" => {
                stream.sign = Some(now);
                let units = json.get("units").and_then(|units| units.as_array());
                let units = units.into_iter().flatten().filter_map(|unit| unit.as_str());
                let units: Vec<String> = units.map(str::to_owned).collect();
                self.put_behind(&units, now.saturating_add(after));
            }
            "alive" => stream.sign = Some(now),
            "end" => {
                return Some(match json.get("code").and_then(|code| code.as_str()) {
                    Some("sign-in") => Closed::SignIn,
                    Some("too-many-values") => Closed::Forbidden,
                    _ => Closed::Ended,
                });
            }
            _ => {}
        }
        None
    }

    fn put_behind(&mut self, units: &[String], turn: i64) {
        self.newest += 1;
        for unit in units {
            self.behind.insert(unit.clone(), self.newest);
        }
        self.turn = Some(turn);
    }

    /// The stream is over, or could not be opened.
    pub fn closed(&mut self, closed: Closed, now: i64, random: u64) {
        let State::Open(stream) = &self.state else {
            return;
        };
        if stream.sign.is_some() && now.saturating_sub(stream.opened) >= GOOD_MS {
            self.attempts = 0;
        }
        let own = pause(PAUSE_MS, PAUSE_MAX_MS, self.attempts, random);
        self.attempts = self.attempts.saturating_add(1);
        let wait = match closed {
            Closed::Ended => own,
            Closed::Busy(asked) => asked.unwrap_or(0).clamp(own, LONGEST_MS),
            Closed::Unknown => UNKNOWN_MS,
            // A token that has ended is renewed by the next sync.
            Closed::SignIn => {
                self.turn = Some(now);
                self.state = State::Waiting;
                return;
            }
            Closed::Forbidden => {
                self.state = State::Waiting;
                return;
            }
        };
        self.state = State::Closed(now.saturating_add(wait));
    }

    /// Whether nothing came for so long that the stream is dead.
    pub fn is_dead(&self, now: i64) -> bool {
        self.dead_at().is_some_and(|at| at <= now)
    }

    fn dead_at(&self) -> Option<i64> {
        match &self.state {
            State::Open(it) => Some(it.heard.saturating_add(it.heartbeat.saturating_mul(2))),
            _ => None,
        }
    }

    /// A sync begins, whoever asked for it.
    pub fn began(&mut self) {
        self.begun_at = self.newest;
    }

    /// It is over, and all rows of these units are here.
    pub fn ended(&mut self, received: &[String], now: i64) {
        let begun_at = self.begun_at;
        self.behind
            .retain(|unit, event| !received.contains(unit) || *event > begun_at);
        match self.behind.is_empty() {
            true => self.turn = None,
            false => self.turn = self.turn.or(Some(now.saturating_add(AGAIN_MS))),
        }
    }

    /// Whether something is known to be new of a unit.
    pub fn is_behind(&self, unit: &str) -> bool {
        self.behind.contains_key(unit)
    }

    /// When the server last looked and nothing new was found of `unit` that is not here.
    pub fn proven_at(&self, unit: &str) -> Option<i64> {
        let State::Open(stream) = &self.state else {
            return None;
        };
        let is_listened_to = self.units.iter().any(|known| known == unit);
        stream
            .sign
            .filter(|_| is_listened_to && !self.is_behind(unit))
    }

    /// When something is to be done, if nothing else happens.
    pub fn due(&self) -> Option<i64> {
        let opens = match self.state {
            State::Closed(at) => Some(at),
            _ => None,
        };
        let turn = self.turn.filter(|_| self.is_on);
        [opens, turn, self.dead_at()].into_iter().flatten().min()
    }

    /// The sync that is due now; it is begun then, as far as this is concerned.
    pub fn take(&mut self, now: i64) -> Option<Wanted> {
        self.turn.take_if(|at| self.is_on && *at <= now)?;
        let mut units = self.behind.keys();
        let unit = match (units.next(), units.next()) {
            (Some(unit), None) if self.units.len() > 1 => Some(unit.clone()),
            _ => None,
        };
        Some(Wanted {
            unit,
            ..Wanted::everything()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Message {
        Message::Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    fn names(units: &[&str]) -> Vec<String> {
        units.iter().map(|&unit| unit.to_owned()).collect()
    }

    /// A stream of two units that is open and has said hello.
    fn listening() -> Live {
        let mut live = Live::default();
        live.set_units(names(&["a", "b"]));
        live.turn_on(true, 0);
        assert!(live.open(0));
        let hello = event("hello", r#"{"after_ms":500,"heartbeat_ms":15000}"#);
        assert_eq!(live.heard(&hello, 10), None);
        live
    }

    fn all() -> Wanted {
        Wanted::everything()
    }

    #[test]
    fn hello_has_everything_synchronised_at_its_turn() {
        let mut live = listening();
        assert_eq!(live.due(), Some(510));
        assert_eq!(live.take(509), None);
        assert_eq!(live.take(510), Some(all()));
        live.began();
        live.ended(&names(&["a", "b"]), 600);
        assert_eq!(live.proven_at("a"), Some(10));
        assert_eq!(live.proven_at("of another model"), None);
        assert_eq!(live.due(), Some(30_010), "the end of patience");
    }

    #[test]
    fn p10_a_sync_that_began_before_the_news_is_no_answer_to_it() {
        let mut live = listening();
        live.began();
        live.heard(&event("news", r#"{"units":["b"],"after_ms":0}"#), 20);
        live.ended(&names(&["a", "b"]), 30);
        assert_eq!((live.is_behind("a"), live.is_behind("b")), (false, true));
        assert_eq!(live.proven_at("b"), None);
        let of_b = Wanted {
            unit: Some("b".to_owned()),
            ..all()
        };
        assert_eq!(live.take(30), Some(of_b), "what is behind, and no more");
        live.began();
        live.ended(&[], 40);
        assert!(live.is_behind("b"), "it did not go through");
        assert_eq!(live.due(), Some(30_020));
        assert_eq!(
            live.take(60_040).map(|it| it.unit),
            Some(Some("b".to_owned()))
        );
        live.began();
        live.ended(&names(&["b"]), 60_050);
        assert_eq!(live.take(i64::MAX), None);
    }

    #[test]
    fn p10_signs_of_life_are_evidence_and_comments_are_none() {
        let mut live = listening();
        live.began();
        live.ended(&names(&["a", "b"]), 20);
        live.heard(&Message::Comment, 10_000);
        assert_eq!(live.proven_at("a"), Some(10));
        assert_eq!(live.due(), Some(40_000), "but a reason for patience");
        live.heard(&event("alive", "{}"), 15_000);
        assert_eq!(live.proven_at("a"), Some(15_000));
        assert!(!live.is_dead(44_999));
        assert!(live.is_dead(45_000));
        live.closed(Closed::Ended, 45_000, 0);
        assert_eq!(live.proven_at("a"), None);
    }

    #[test]
    fn streams_come_again_after_pauses_that_grow_unless_one_was_good() {
        let mut live = Live::default();
        live.turn_on(true, 0);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(live.open(now));
            live.closed(Closed::Ended, now, 0);
            let due = live.due().unwrap();
            assert!(!live.open(due - 1));
            pauses.push((due - now) / 1_000);
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(live.open(now));
        live.heard(&event("alive", "{}"), now);
        live.closed(Closed::Ended, now + GOOD_MS, 0);
        assert_eq!(live.due(), Some(now + GOOD_MS + 1_000));
    }

    #[test]
    fn a_server_that_says_when_is_believed_and_one_that_says_no_is_left_alone() {
        for (closed, due) in [
            (Closed::Busy(Some(7_000)), Some(7_000)),
            (Closed::Busy(Some(i64::MAX)), Some(LONGEST_MS)),
            (Closed::Busy(None), Some(1_000)),
            (Closed::Unknown, Some(UNKNOWN_MS)),
            (Closed::Forbidden, None),
        ] {
            let mut live = Live::default();
            live.turn_on(true, 0);
            live.open(0);
            live.closed(closed, 0, 0);
            assert_eq!(live.due(), due, "{closed:?}");
            live.try_again(9);
            assert_eq!(live.due(), Some(9));
        }
    }

    #[test]
    fn a_token_that_ended_is_renewed_by_a_sync() {
        let mut live = listening();
        let end = event("end", r#"{"code":"sign-in"}"#);
        let closed = live.heard(&end, 20).unwrap();
        live.closed(closed, 20, 0);
        assert_eq!(live.take(20), Some(all()));
        assert!(!live.open(i64::MAX));
        live.try_again(30);
        assert!(live.open(30));
    }

    #[test]
    fn what_nobody_understands_is_passed_over() {
        let mut live = listening();
        for message in [
            event("news", "no JSON"),
            event("news", r#"{"units":7,"after_ms":"x"}"#),
            event("from-later", "{}"),
            event("hello", r#"{"after_ms":-5,"heartbeat_ms":-5}"#),
        ] {
            assert_eq!(live.heard(&message, 30), None);
        }
        assert_eq!(live.due(), Some(30));
        live.turn_on(false, 40);
        assert_eq!((live.due(), live.take(i64::MAX)), (None, None));
    }
}
