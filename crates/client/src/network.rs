//! What is known of the network: what the platform says, and whether the server answers.
//!
//! It performs nothing; a driver tells it what it saw and asks when the server is to be probed.
//! Online means that the server itself answered. What the platform says is a hint: a network may
//! lead nowhere, or to a page that wants a password first (a captive portal).
//!
//! ```text
//!                    the server answered                    no answer
//!   unknown ─────────────────────────► online ◄───────┐  ┌──────────► offline
//!      │                                  │           │  │               │
//!      └── no answer ──► offline          └───────────┴──┘   probed again and again
//! ```
//!
//! While the platform says that there is no network, nothing is probed and no sync begins by
//! itself.

use crate::backoff::pause;

/// The first pause before an unreachable server is probed again, in milliseconds; it doubles.
const PROBE_MS: i64 = 5_000;

/// The longest such pause: who comes back into the network is noticed within it. A probe is a few
/// hundred bytes, and only sent while the app is in front.
const PROBE_MAX_MS: i64 = 60_000;

/// The kind of network that a device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NetworkType {
    /// None.
    None,
    /// Wireless.
    Wifi,
    /// By cable.
    Ethernet,
    /// Over a mobile carrier.
    Cellular(Option<Generation>),
    /// Nobody has said.
    #[default]
    Unknown,
}

/// The generation of a cellular network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// GPRS, EDGE and their like.
    G2,
    /// UMTS, HSPA and their like.
    G3,
    /// LTE.
    G4,
    /// NR.
    G5,
}

/// Every type by its stable word.
const WORDS: [(&str, NetworkType); 9] = [
    ("none", NetworkType::None),
    ("wifi", NetworkType::Wifi),
    ("ethernet", NetworkType::Ethernet),
    ("cellular", NetworkType::Cellular(None)),
    ("cellular-2g", NetworkType::Cellular(Some(Generation::G2))),
    ("cellular-3g", NetworkType::Cellular(Some(Generation::G3))),
    ("cellular-4g", NetworkType::Cellular(Some(Generation::G4))),
    ("cellular-5g", NetworkType::Cellular(Some(Generation::G5))),
    ("unknown", NetworkType::Unknown),
];

impl NetworkType {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        let found = WORDS.iter().find(|(_, kind)| *kind == self);
        found.map_or("unknown", |(word, _)| word)
    }

    /// The type that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        let found = WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, kind)| *kind)
    }

    /// Every word, for messages.
    pub fn words() -> String {
        WORDS.map(|(word, _)| word).join(", ")
    }
}

/// What the platform says of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkInfo {
    /// Its kind.
    pub kind: NetworkType,
    /// Whether what is transferred is paid for by its amount; `None` if the platform does not say,
    /// and a cellular network counts as metered then.
    pub is_metered: Option<bool>,
}

impl NetworkInfo {
    /// A network of this kind.
    pub fn of(kind: NetworkType) -> Self {
        Self {
            kind,
            is_metered: None,
        }
    }

    /// Whether what is transferred is paid for by its amount, as far as anybody knows.
    pub fn counts_as_metered(&self) -> bool {
        let is_cellular = matches!(self.kind, NetworkType::Cellular(_));
        self.is_metered.unwrap_or(is_cellular)
    }
}

/// What is known of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Whether the server answered when it was last asked; `None` if it was not asked yet, or since
    /// the network is another one.
    pub is_online: Option<bool>,
    /// What the platform says.
    pub info: NetworkInfo,
}

/// The state of the network, and when the server is probed.
#[derive(Debug, Default)]
pub struct Network {
    status: NetworkStatus,
    /// Whether anybody wants to know by itself.
    is_probing: bool,
    attempts: u32,
    due: Option<i64>,
    /// How often the platform said that the network is another one.
    changes: u64,
}

/// What came of something that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the status is another one now.
    pub has_changed: bool,
    /// Whether the server answers, and did not before.
    pub is_back: bool,
}

impl Network {
    /// The status.
    pub fn status(&self) -> NetworkStatus {
        self.status
    }

    /// Whether the platform says that there is none.
    pub fn is_none(&self) -> bool {
        self.status.info.kind == NetworkType::None
    }

    /// How often the network became another one.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// From now on, or no more, the server is probed while it is known not to answer, or the
    /// platform has said that there is another network.
    pub fn probes(&mut self, probes: bool, now: i64) {
        if probes && !self.is_probing && self.due.is_some() {
            (self.attempts, self.due) = (0, Some(now));
        }
        self.is_probing = probes;
    }

    /// The platform says what there is. Another network is another way to the server, or none.
    pub fn told(&mut self, info: NetworkInfo, now: i64) -> Seen {
        let before = self.status;
        if before.info.kind == info.kind && before.is_online != Some(false) {
            self.status.info = info;
        } else {
            let is_none = info.kind == NetworkType::None;
            self.status = NetworkStatus {
                is_online: is_none.then_some(false),
                info,
            };
            (self.attempts, self.due) = (0, (!is_none).then_some(now));
            self.changes += 1;
        }
        Seen {
            has_changed: self.status != before,
            is_back: false,
        }
    }

    /// The server answered, whatever it said.
    pub fn answered(&mut self) -> Seen {
        let before = self.status;
        self.status.is_online = Some(true);
        if self.is_none() {
            // The platform was wrong.
            self.status.info = NetworkInfo::default();
        }
        (self.attempts, self.due) = (0, None);
        Seen {
            has_changed: self.status != before,
            is_back: before.is_online != Some(true),
        }
    }

    /// The server was asked, and no answer came.
    pub fn silent(&mut self, now: i64, random: u64) -> Seen {
        let before = self.status;
        self.status.is_online = Some(false);
        let wait = pause(PROBE_MS, PROBE_MAX_MS, self.attempts, random);
        self.attempts = self.attempts.saturating_add(1);
        self.due = (!self.is_none()).then_some(now.saturating_add(wait));
        Seen {
            has_changed: self.status != before,
            is_back: false,
        }
    }

    /// When the server is to be probed, if nothing else happens.
    pub fn due(&self) -> Option<i64> {
        self.due.filter(|_| self.is_probing)
    }

    /// Whether it is to be probed now; that is begun then, as far as this is concerned.
    pub fn take(&mut self, now: i64) -> bool {
        let is_due = self.due().is_some_and(|at| at <= now);
        if is_due {
            self.due = None;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(kind: NetworkType) -> NetworkInfo {
        NetworkInfo::of(kind)
    }

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for (word, kind) in WORDS {
            assert_eq!(
                (kind.as_str(), NetworkType::parse(word)),
                (word, Some(kind))
            );
        }
        assert_eq!(NetworkType::parse("6g"), None);
    }

    #[test]
    fn online_is_what_answers_and_nothing_else() {
        let mut it = Network::default();
        assert_eq!(it.status().is_online, None);
        assert!(it.told(network(NetworkType::Wifi), 0).has_changed);
        assert_eq!(it.status().is_online, None, "wifi may lead nowhere");
        let seen = it.answered();
        assert_eq!((seen.has_changed, seen.is_back), (true, true));
        assert_eq!(it.answered(), Seen::default(), "nothing new");
        assert!(it.silent(0, 0).has_changed);
        assert_eq!(it.status().is_online, Some(false));
        assert!(it.answered().is_back);
        // The same again, with more said about it.
        let metered = NetworkInfo {
            is_metered: Some(true),
            ..network(NetworkType::Wifi)
        };
        assert!(it.told(metered, 0).has_changed);
        assert_eq!(it.status().is_online, Some(true));
        assert!(it.told(network(NetworkType::Cellular(None)), 0).has_changed);
        assert_eq!(it.status().is_online, None, "another way");
        it.told(network(NetworkType::None), 0);
        assert_eq!(it.status().is_online, Some(false));
        assert!(it.answered().is_back, "the platform was wrong");
        assert_eq!(it.status().info, NetworkInfo::default());
    }

    #[test]
    fn a_silent_server_is_probed_less_and_less_often_up_to_a_minute() {
        let mut it = Network::default();
        it.probes(true, 900);
        assert_eq!(it.due(), None, "nobody knows that it does not answer");
        it.told(network(NetworkType::Wifi), 1_000);
        let mut now = it.due().unwrap();
        assert_eq!(now, 1_000);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert!(!it.take(now - 1));
            assert!(it.take(now));
            assert_eq!(it.due(), None, "while it is asked");
            it.silent(now, 0);
            let due = it.due().unwrap();
            pauses.push((due - now) / 1_000);
            now = due;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        it.probes(false, now);
        assert_eq!((it.due(), it.take(now)), (None, false));
        it.probes(true, now);
        assert!(it.take(now), "who begins to look looks at once");
        it.answered();
        assert_eq!(it.due(), None);
    }

    #[test]
    fn without_a_network_nothing_is_probed_and_another_one_is_at_once() {
        let mut it = Network::default();
        it.probes(true, 0);
        it.told(network(NetworkType::None), 1);
        assert_eq!(it.due(), None);
        it.silent(2, 0);
        assert_eq!(it.due(), None);
        it.told(network(NetworkType::Wifi), 3);
        assert_eq!(it.due(), Some(3));
        it.silent(3, 0);
        assert_eq!(it.due(), Some(5_003));
        it.told(network(NetworkType::Wifi), 4);
        assert_eq!(it.due(), Some(4), "told again: it may be another one");
    }

    #[test]
    fn cellular_counts_as_metered_unless_the_platform_knows_better() {
        let of = |kind, is_metered| NetworkInfo { kind, is_metered }.counts_as_metered();
        assert!(of(NetworkType::Cellular(None), None));
        assert!(!of(NetworkType::Cellular(None), Some(false)));
        assert!(!of(NetworkType::Wifi, None));
        assert!(of(NetworkType::Wifi, Some(true)));
        assert!(!of(NetworkType::Unknown, None));
    }
}
