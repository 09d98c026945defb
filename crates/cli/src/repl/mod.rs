//! `afield device STORE --repl`: requests as JSON lines, one answer a line, in order.
//!
//! An error is an answer and never ends the process. A writing request is answered once what it
//! wrote is durable. `docs/repl.md` shows every request.

mod choices;
mod decisions;
mod events;
mod files;
mod lines;
mod log;
mod network;
mod requests;
mod schedule;
mod steps;
mod verify;

use std::io::{Write as _, stdin, stdout};
use std::path::{Path, PathBuf};

use afield::native::Client;
use afield::{Error, Unsent};
use afield_protocol::Code;
use serde_json::{Map, Value as Json, json};

use self::lines::Lines;
use crate::device::{self, Who};
use crate::failure::{Failure, REFUSED};

/// Answers requests until the input ends; gives the exit code.
pub(crate) fn run(store: &Path, who: &Who) -> Result<u8, Failure> {
    let mut session = Session {
        folder: store.to_owned(),
        who: who.clone(),
        client: None,
    };
    let mut lines = Lines::new(stdin().lock());
    while let Some(line) = lines.next_line() {
        let answer = match line {
            Ok(line) => session.answer(&line),
            Err(error) => refusal(&error, Map::new()),
        };
        let mut out = stdout().lock();
        let written = writeln!(out, "{answer}").and_then(|()| out.flush());
        if written.is_err() {
            // Nobody reads the answers any more; what was answered is durable.
            return Ok(REFUSED);
        }
    }
    Ok(0)
}

/// What the process remembers between two requests.
struct Session {
    folder: PathBuf,
    who: Who,
    client: Option<Client>,
}

/// What a request gives back besides `ok` and its id.
type Answer = Map<String, Json>;

impl Session {
    /// Answers one line.
    fn answer(&mut self, line: &str) -> Json {
        let request: Map<String, Json> = match serde_json::from_str(line) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("a request is one JSON object on a line: {error}");
                return refusal(&Error::new(Code::MALFORMED, message), Map::new());
            }
        };
        let mut answer = Map::new();
        if let Some(id) = request.get("id") {
            answer.insert("id".into(), id.clone());
        }
        match self.perform(&request) {
            Ok(found) => {
                answer.insert("ok".into(), true.into());
                answer.extend(found);
                Json::Object(answer)
            }
            Err(error) => refusal(&error, answer),
        }
    }

    fn perform(&mut self, request: &Map<String, Json>) -> Result<Answer, Error> {
        let verb = request.get("do").and_then(Json::as_str).ok_or_else(|| {
            let message = "a request says what to do, as in {\"do\":\"status\"}";
            Error::new(Code::MALFORMED, message)
        })?;
        match verb {
            "open" => self.open(request),
            "login" => self.login(request),
            "logout" => self.logout(request),
            "close" => {
                self.client = None;
                Ok(Answer::new())
            }
            verb => {
                let perform = requests::find(verb).ok_or_else(|| {
                    let known = requests::VERBS.map(|(verb, _)| verb).join(", ");
                    let message = format!(
                        "no request `{verb}`; there are: open, login, logout, {known}, close"
                    );
                    Error::new(Code::UNKNOWN_REQUEST, message)
                })?;
                perform(self.client()?, request)
            }
        }
    }

    /// Opens a store, in place of the one that is open.
    fn open(&mut self, request: &Map<String, Json>) -> Result<Answer, Error> {
        let word = |name: &str| match request.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(word)) => Ok(Some(word.clone())),
            Some(_) => Err(requests::malformed(name, "text")),
        };
        let mut who = self.who.clone();
        who.user = word("user")?.or(who.user);
        who.server = word("server")?.or(who.server);
        who.token = word("token")?.or(who.token);
        who.model = word("model")?.map(PathBuf::from).or(who.model);
        // The store that was open is closed first: it may be the same one.
        self.client = None;
        let client = open(&self.folder, &who)?;
        self.who = who;
        let opened = device::opened_json(&client)?;
        self.client = Some(client);
        Ok(requests::object(opened))
    }

    /// Signs in, in place of whoever was there: that one is not logged out by it.
    fn login(&mut self, request: &Map<String, Json>) -> Result<Answer, Error> {
        for name in ["user", "token"] {
            requests::text(request, name)?;
        }
        self.open(request)?;
        let status = self.client()?.store().status()?;
        let waiting = status.pending + status.held;
        Ok(requests::object(json!({ "pending": waiting })))
    }

    /// Logs out and closes the store; with `discard` nothing of the user's is left.
    fn logout(&mut self, request: &Map<String, Json>) -> Result<Answer, Error> {
        let flag = |name: &str| match request.get(name) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(is)) => Ok(*is),
            Some(_) => Err(requests::malformed(name, "true or false")),
        };
        let (discards, keeps) = (flag("discard")?, flag("keep")?);
        if discards && keeps {
            return Err(requests::malformed("keep", "false where `discard` is true"));
        }
        if request.contains_key("export") {
            if discards || keeps {
                let expected = "without `discard` and `keep`: it discards what is in the file";
                return Err(requests::malformed("export", expected));
            }
            return self.logout_exported(request);
        }
        let unsent = match keeps {
            true => Unsent::Keep,
            false => Unsent::Refuse,
        };
        self.client()?;
        let pending = match self.client.take() {
            Some(client) if discards => client.erase(Unsent::Discard)?,
            Some(client) => match client.log_out(unsent) {
                Ok(left) => left,
                Err(error) => {
                    // Whoever is not logged out is still there.
                    self.client = Some(client);
                    return Err(error);
                }
            },
            None => 0,
        };
        self.who.token = None;
        Ok(requests::object(json!({ "pending": pending })))
    }

    /// Logs out once what is not settled is in a file; then nothing of the user's is left.
    fn logout_exported(&mut self, request: &Map<String, Json>) -> Result<Answer, Error> {
        let path = PathBuf::from(requests::text(request, "export")?);
        let options = files::options(request)?;
        let exported = self.client()?.log_out_exported(&path, &options)?;
        if let Some(client) = self.client.take() {
            client.erase(Unsent::Discard)?;
        }
        self.who.token = None;
        let mut answer = requests::object(device::exported_json(&exported));
        answer.insert("pending".into(), exported.changes.all().into());
        Ok(answer)
    }

    /// The open store; a request before any `open` opens what the flags say.
    fn client(&mut self) -> Result<&Client, Error> {
        match &mut self.client {
            Some(client) => Ok(client),
            none => Ok(none.insert(open(&self.folder, &self.who)?)),
        }
    }
}

fn open(folder: &Path, who: &Who) -> Result<Client, Error> {
    device::open(folder, who, true)
        .map_err(|failure| Error::new(Code::parse(&failure.code), failure.message))
}

fn refusal(error: &Error, mut answer: Answer) -> Json {
    let mut problem = json!({ "code": error.code().as_str(), "message": error.to_string() });
    if let (Some(attribute), Json::Object(problem)) = (error.attribute(), &mut problem) {
        problem.insert("attribute".into(), attribute.into());
    }
    answer.insert("ok".into(), false.into());
    answer.insert("error".into(), problem);
    Json::Object(answer)
}
