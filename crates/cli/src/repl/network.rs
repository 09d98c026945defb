//! What is known of the network.

use afield::Error;
use afield::native::Client;
use afield::network::{NetworkInfo, NetworkType};
use serde_json::Value as Json;

use super::Answer;
use super::requests::{Request, malformed, object, text};
use crate::device::network_json;

/// What the platform says of the network, and which units wait for one that is not metered. That
/// there is one is no proof that the server answers.
pub(super) fn network(client: &Client, request: &Request) -> Result<Answer, Error> {
    let kind = match request.get("type") {
        None | Some(Json::Null) => None,
        Some(_) => {
            let kind = NetworkType::parse(text(request, "type")?);
            let words = || malformed("type", &format!("one of {}", NetworkType::words()));
            Some(kind.ok_or_else(words)?)
        }
    };
    let flag = |name: &str| match request.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(is)) => Ok(Some(*is)),
        Some(_) => Err(malformed(name, "true or false")),
    };
    let (online, is_metered) = (flag("online")?, flag("metered")?);
    let units = units(request)?;
    let kind = match (online, kind) {
        (Some(true), Some(NetworkType::None)) => {
            return Err(malformed(
                "type",
                "another than `none` where `online` is true",
            ));
        }
        (Some(false), _) => Some(NetworkType::None),
        (Some(true), kind) => Some(kind.unwrap_or_default()),
        (None, kind) => kind,
    };
    for (unit, is_on) in units {
        client.set_unmetered_only(unit, is_on);
    }
    if let Some(kind) = kind {
        client.set_network(NetworkInfo { kind, is_metered })?;
    }
    Ok(object(network_json(&client.network())))
}

/// Units by name, and whether each waits for a network that is not metered.
fn units(request: &Request) -> Result<Vec<(String, bool)>, Error> {
    let wrong = || malformed("unmetered_only", "an object of units, each true or false");
    let units = match request.get("unmetered_only") {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Object(units)) => units,
        Some(_) => return Err(wrong()),
    };
    let unit = |(name, is_on): (&String, &Json)| Some((name.clone(), is_on.as_bool()?));
    units
        .iter()
        .map(unit)
        .map(|it| it.ok_or_else(wrong))
        .collect()
}

/// Asks the server whether it is there.
pub(super) fn probe(client: &Client, _: &Request) -> Result<Answer, Error> {
    client.probe()?;
    Ok(object(network_json(&client.network())))
}
