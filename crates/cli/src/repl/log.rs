//! The log that goes to the server.

use afield::Error;
use afield::native::Client;
use afield_protocol::Level;

use super::Answer;
use super::requests::{Request, malformed, text};

/// Adds an entry; it goes with the next sync.
pub(super) fn log(client: &Client, request: &Request) -> Result<Answer, Error> {
    let level = Level::parse(text(request, "level")?);
    let words = Level::ALL.map(Level::as_str).join(", ");
    let level = level.ok_or_else(|| malformed("level", &format!("one of {words}")))?;
    let (module, message) = (text(request, "module")?, text(request, "message")?);
    client.log(level, module, message)?;
    Ok(Answer::new())
}
