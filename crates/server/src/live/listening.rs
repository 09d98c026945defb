//! Devices that listen without a network, on a clock that a test turns: for the suite that every
//! storage must pass.

#![expect(clippy::unwrap_used, reason = "a test suite")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use afield_protocol::{Held, Unit};
use serde_json::Value as Json;

use super::hub::Hub;
use super::stream::Shared;
use super::{Listener, LiveLimits};
use crate::resolved::ServerModel;
use crate::storage::{Caller, Storage};

/// What a device hears of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Hello,
    /// News of these entities.
    News(BTreeSet<String>),
    Alive,
    /// Nothing: it is not known whether there is anything new.
    Nothing,
    /// Its end, and why.
    End(String),
}

/// All devices.
pub(crate) struct Listening {
    hub: Hub,
    /// Each entity is a unit of its own.
    model: ServerModel,
    limits: LiveLimits,
    now_ms: u64,
    devices: Vec<Arc<Shared>>,
}

impl Listening {
    pub(crate) fn new(model: &ServerModel) -> Self {
        let mut model = model.clone();
        let unit = |name: &String| Unit {
            name: name.clone(),
            entities: vec![name.clone()],
        };
        let names: Vec<String> = (model.entities.iter())
            .map(|entity| entity.local.name.clone())
            .collect();
        model.device.units = names.iter().map(unit).collect();
        let limits = LiveLimits {
            streams: 10_000,
            streams_of_user: 10_000,
            rate: 1_000_000,
            // A sign of life of each look that finds nothing.
            heartbeat: Duration::ZERO,
            poll: Duration::ZERO,
            stall: Duration::from_secs(60),
        };
        Self {
            hub: Hub::new(&model, &limits),
            model,
            limits,
            now_ms: 0,
            devices: Vec::new(),
        }
    }

    /// One more device.
    pub(crate) fn join(&mut self, caller: &Caller) {
        let who = Listener {
            caller: caller.clone(),
            units: (0..self.model.device.units.len()).collect(),
            ends_s: i64::MAX,
        };
        let opened = self.hub.open(who, &self.limits, self.now_ms);
        let opened = opened.unwrap_or_else(|full| panic!("{full:?}"));
        self.devices.push(opened.shared);
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// This server has answered a sync.
    pub(crate) fn pulled(&mut self, caller: &Caller, held: &[Held]) {
        self.hub.pulled(caller, held);
    }

    /// One look, and what each device hears of it.
    pub(crate) fn look(&mut self, storage: &dyn Storage) -> Vec<Heard> {
        self.now_ms += 1;
        let (since, watched) = self.hub.begin_look().expect("somebody listens");
        let (hub, now_ms) = (&mut self.hub, self.now_ms);
        let mut asked = |touched: &_| hub.asked(touched, now_ms);
        let found = storage
            .look(&self.model, since.as_ref(), &watched, &mut asked)
            .unwrap();
        self.hub.tell(found, &self.limits, self.now_ms);
        self.devices.iter().map(|device| heard(device)).collect()
    }
}

fn heard(device: &Shared) -> Heard {
    let (text, _) = device.taken();
    let mut lines = text.lines();
    let Some(name) = lines.next() else {
        return Heard::Nothing;
    };
    let data = lines.next().and_then(|line| line.strip_prefix("data: "));
    let data: Json = serde_json::from_str(data.unwrap_or_default()).unwrap();
    let rest: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert!(rest.is_empty(), "one event for each look: {text}");
    let word = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    match name {
        "event: hello" => Heard::Hello,
        "event: alive" => Heard::Alive,
        "event: end" => Heard::End(word(&data["code"])),
        "event: news" => {
            let units = data["units"].as_array().cloned().unwrap_or_default();
            Heard::News(units.iter().map(word).collect())
        }
        other => panic!("{other}"),
    }
}
