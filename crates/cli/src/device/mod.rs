//! `afield device STORE …`: a real device on the command line, over the same library as an app.

mod answer;
mod choose;
mod decide;
mod events;
mod files;
mod hooks;
mod log;
mod rekey;
mod rows;
mod session;
mod show;
mod sync;
mod table;
mod token;
mod values;
mod verify;

use std::path::PathBuf;

use afield::native::{Client, ClientOptions, Folder, KeySource, token_user};
use afield_protocol::Model;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

pub(crate) use self::answer::{
    change_json, conflict_json, instant, instant_after, key_from_json, key_json, network_json,
    now_ms, opened_json, outcome_json, report_json, rows_json, status_json,
};
pub(crate) use self::events::event_json;
pub(crate) use self::files::{exported_json, imported_json};
pub(crate) use self::log::level;
pub(crate) use self::rows::words;
pub(crate) use self::table::table;
pub(crate) use self::values::{assignments, whole_key};
pub(crate) use self::verify::{uncaptured_json, verify, verify_json};

pub(crate) use self::choose::chosen_json;
use crate::failure::Failure;
use crate::model::{ModelArgs, resolved};
use crate::output::Output;

/// What `afield device --help` ends with.
const HELP: &str = "\
STORE is a folder; it holds one database file for each user, and remembers the server and the
token, so that they are given once:

  export AFIELD_TOKEN=$(afield token --user ann)
  afield device phone --server http://127.0.0.1:4100 sync
  afield device phone list contact --where \"name LIKE 'A%'\"
  afield device phone update contact 17 phone='030 1234' note=null
  afield device phone status
  afield device phone sync

A store is encrypted when it is made, or first opened, with a key of 32 random bytes; from then on
every command needs it:

  openssl rand -hex 32 > phone.key && chmod 600 phone.key
  afield device phone --key-file phone.key sync

Everything but `sync` works without a network. Exit codes: 0 done, 1 refused or incomplete,
2 usage, 3 the server cannot be reached, 4 sign-in needed.";

/// Arguments of `afield device`.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true, after_long_help = HELP)]
pub(crate) struct DeviceArgs {
    /// The folder of this device's stores; it is made by `open` or `sync`.
    #[arg(value_name = "STORE")]
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) who: Who,
    /// Read requests as JSON lines from standard input, and answer each with a line.
    #[arg(long)]
    repl: bool,
    #[command(subcommand)]
    command: Option<DeviceCommand>,
}

/// Whose store, and how to reach the server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Who {
    /// Whose store; not needed where STORE holds only one, or the token names the user.
    #[arg(long, global = true, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The server's address; remembered in the store.
    #[arg(long, global = true, env = "AFIELD_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The token to sign in with; remembered in the folder, readable by its owner only.
    #[arg(
        long,
        global = true,
        env = "AFIELD_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// A command of the shell that prints the next token when the server refuses the one at hand;
    /// it prints nothing if a person must sign in.
    #[arg(
        long,
        global = true,
        env = "AFIELD_TOKEN_COMMAND",
        value_name = "COMMAND"
    )]
    pub(crate) token_command: Option<String>,
    /// A model for a store that has none yet, to work before the first sync: an afield.toml, or
    /// the JSON that the server answers at /v1/model.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Trust these root certificates (PEM) besides the public ones.
    #[arg(long, global = true, env = "AFIELD_ROOTS", value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,
    /// The key of an encrypted store: a file with 32 random bytes, or with 64 hexadecimal digits.
    /// Without it the digits in AFIELD_KEY, if that is set. A store that is not encrypted yet is
    /// from then on.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    hooks: hooks::HookArgs,
}

/// The environment variable that stands in for `--key-file`.
const KEY_VARIABLE: &str = "AFIELD_KEY";

impl Who {
    /// Where the store's key is, if the store has one.
    fn key(&self) -> Option<KeySource> {
        key_source(self.key_file.as_ref(), KEY_VARIABLE)
    }
}

/// The file, or else the environment variable if it is set.
fn key_source(file: Option<&PathBuf>, variable: &str) -> Option<KeySource> {
    let in_environment = || {
        let is_set = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        is_set.then(|| KeySource::Environment(variable.to_owned()))
    };
    file.cloned().map(KeySource::File).or_else(in_environment)
}

/// What a device can be asked for.
#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Make the store, or show what it is.
    Open,
    /// Sign in: open the store with a token, also after its user has logged out.
    Login,
    /// Log out: forget the token, and lock the store until its user signs in again.
    Logout(session::LogoutArgs),
    /// Send what was changed and receive what changed elsewhere.
    Sync(sync::SyncArgs),
    /// Say whether everything is sent and received, and if not, why.
    Status,
    /// Stay and synchronise by itself, as the model says, and tell what happens, until Ctrl-C.
    Run,
    /// Ask whether the server is there, without a token; exit 3 if it is not.
    Probe,
    /// Show the entities of the model, with their attributes.
    Entities,
    /// List rows of an entity.
    ///
    ///   afield device phone list visit --where "done = 0 AND city = 'Bonn'" --limit 20
    #[command(verbatim_doc_comment)]
    List(rows::ListArgs),
    /// Show one row.
    Get(rows::RowArgs),
    /// Create a row.
    ///
    /// Values are read by the attribute's type; `name=null` is no value, and `name:=JSON` takes
    /// JSON. A UUID identifier may be left out.
    ///
    ///   afield device phone create visit city=Bonn done=false score=2.5 note:='"null"'
    #[command(verbatim_doc_comment)]
    Create(rows::CreateArgs),
    /// Set attributes of a row; those not named stay.
    ///
    ///   afield device phone update contact 17 phone='030 1234' note=null
    #[command(verbatim_doc_comment)]
    Update(rows::UpdateArgs),
    /// Delete a row, here and with the next sync on the server.
    Delete(rows::RowArgs),
    /// Run SQL: a query, or statements that are one transaction.
    ///
    ///   afield device phone sql "SELECT city, count(*) FROM visit GROUP BY city"
    ///   afield device phone sql "UPDATE visit SET done = 1 WHERE city = 'Bonn'"
    #[command(verbatim_doc_comment)]
    Sql(rows::SqlArgs),
    /// Choose a value of a scope: the next sync brings its rows.
    ///
    /// It stays chosen for as long as the model says; choose it again to keep it longer.
    ///
    ///   afield device phone choose projects 17
    #[command(verbatim_doc_comment)]
    Choose(choose::ChooseArgs),
    /// Give a choice up: the rows that nothing else brings leave with the next sync.
    Unchoose(choose::ChooseArgs),
    /// Show what is chosen, and for how long.
    Chosen(choose::ChosenArgs),
    /// Show the changes made on this device and where each stands.
    Changes,
    /// Show what became of the changes that were sent.
    Outcomes(OutcomesArgs),
    /// Show the conflicts that wait for a decision: your version and the server's.
    Conflicts,
    /// Decide a conflict.
    ///
    /// `mine`: your values stand, on top of the server's row. `theirs`: the server's row stands.
    /// Values: these stand, and what is not named stays as the server has it. Nothing you typed
    /// is lost: what is not taken stays among `changes`. The next sync sends the decision.
    ///
    ///   afield device phone conflicts
    ///   afield device phone resolve 3f2a91 mine
    ///   afield device phone resolve 3f2a91 phone='030 1234' note=null
    #[command(verbatim_doc_comment)]
    Resolve(decide::ResolveArgs),
    /// Send a refused change again, with its transaction.
    ///
    /// Values replace those that were refused. `changes` shows names and reasons.
    ///
    ///   afield device phone retry 3f2a91 name=Ann
    #[command(verbatim_doc_comment)]
    Retry(decide::RetryArgs),
    /// Give a refused change up, or take the server's version of a conflict.
    ///
    /// The row becomes as it is without it; the rest of its transaction goes again. With a create
    /// go the changes that depend on its row. All of it stays among `changes`.
    ///
    ///   afield device phone drop 3f2a91
    #[command(verbatim_doc_comment)]
    Drop(decide::DropArgs),
    /// Take back a change that was not sent, with its transaction.
    ///
    /// The rows become as they are without it; edits of them in later transactions stay. What was
    /// sent may have arrived, and is written again instead. All of it stays among `changes`.
    ///
    ///   afield device phone undo 3f2a91
    #[command(verbatim_doc_comment)]
    Undo(decide::UndoArgs),
    /// Compare all rows of this device with the server's, both at one moment.
    ///
    /// Changes that wait to be sent are no difference. Rows that only this device has, or has
    /// otherwise, are shown before anything is repaired: some program may have written them while
    /// nothing captured it. The exit code is 0 if both sides are equal in the end, and 1 if not.
    ///
    ///   afield device phone verify
    ///   afield device phone verify --repair
    #[command(verbatim_doc_comment)]
    Verify(verify::VerifyArgs),
    /// Show rows that `verify` found only here, or with another content, as they stood here.
    Uncaptured,
    /// Write what is not settled into a file, to be imported on another device or on the server.
    ///
    /// Nothing changes here: it is still sent from here, too, and takes effect once. Rows of the
    /// server's, local-only rows and the log are not in it.
    ///
    ///   afield device phone export ann.outbox
    ///   afield device tablet import ann.outbox
    ///   afield import ann.outbox
    #[command(verbatim_doc_comment)]
    Export(files::ExportArgs),
    /// Take the changes of such a file into this outbox; the next sync sends them.
    Import(files::ImportArgs),
    /// Add an entry to the log that goes to the server with the syncs; `afield logs` shows it.
    ///
    ///   afield device phone log warn camera "no light"
    #[command(verbatim_doc_comment)]
    Log(log::LogArgs),
    /// Show the entries of the log that the server is not known to have.
    Logs,
    /// Give an encrypted store another key; nobody may have it open.
    ///
    /// Whenever it is interrupted, one of both keys opens the store. Keep the old one until this
    /// has said that it is done.
    ///
    ///   openssl rand -hex 32 > new.key && chmod 600 new.key
    ///   afield device phone --key-file phone.key rekey --new-key-file new.key
    #[command(verbatim_doc_comment)]
    Rekey(rekey::RekeyArgs),
}

/// `afield device STORE outcomes`.
#[derive(Args, Debug)]
struct OutcomesArgs {
    /// Only outcomes after this number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    since: i64,
}

/// Which way a sync goes.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Direction {
    /// Sends changes and receives rows.
    #[default]
    Both,
    /// Only sends changes.
    Send,
    /// Only receives rows.
    Receive,
}

impl From<Direction> for afield::engine::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Both => Self::Both,
            Direction::Send => Self::Send,
            Direction::Receive => Self::Receive,
        }
    }
}

impl DeviceCommand {
    /// Whether it talks to the server, or makes the store for that.
    fn signs_in(&self) -> bool {
        matches!(
            self,
            Self::Open | Self::Login | Self::Sync(_) | Self::Verify(_) | Self::Run
        )
    }
}

/// Runs a command; gives the exit code.
pub(crate) fn run(args: &DeviceArgs, out: &Output) -> Result<u8, Failure> {
    if args.repl {
        if args.command.is_some() {
            return Err(Failure::usage("--repl takes requests, not a command"));
        }
        return crate::repl::run(&args.store, &args.who);
    }
    let Some(command) = &args.command else {
        let message = "say what to do, like `sync` or `status`; see --help";
        return Err(Failure::usage(message));
    };
    if let DeviceCommand::Rekey(rekey) = command {
        return rekey::run(&args.store, &args.who, rekey, out).map(|()| 0);
    }
    let client = open(&args.store, &args.who, command.signs_in())?;
    match command {
        DeviceCommand::Open => show::opened(&client, out),
        DeviceCommand::Login => session::login(&client, &args.who, out),
        DeviceCommand::Logout(args) => session::logout(client, args, out),
        DeviceCommand::Export(args) => return files::export(&client, args, out),
        DeviceCommand::Import(args) => files::import(&client, args, out),
        DeviceCommand::Sync(args) => return sync::run(client, args, out),
        DeviceCommand::Status => show::status(&client, out),
        DeviceCommand::Run => events::run(client, out),
        DeviceCommand::Probe => show::probe(&client, out),
        DeviceCommand::Entities => show::entities(&client, out),
        DeviceCommand::List(args) => rows::list(&client, args, out),
        DeviceCommand::Get(args) => rows::get(&client, args, out),
        DeviceCommand::Create(args) => rows::create(&client, args, out),
        DeviceCommand::Update(args) => rows::update(&client, args, out),
        DeviceCommand::Delete(args) => rows::delete(&client, args, out),
        DeviceCommand::Sql(args) => rows::sql(&client, args, out),
        DeviceCommand::Choose(args) => choose::choose(&client, args, out),
        DeviceCommand::Unchoose(args) => choose::unchoose(&client, args, out),
        DeviceCommand::Chosen(args) => choose::chosen(&client, args, out),
        DeviceCommand::Changes => show::changes(&client, out),
        DeviceCommand::Outcomes(args) => show::outcomes(&client, args.since, out),
        DeviceCommand::Conflicts => decide::conflicts(&client, out),
        DeviceCommand::Resolve(args) => decide::resolve(&client, args, out),
        DeviceCommand::Retry(args) => decide::retry(&client, args, out),
        DeviceCommand::Drop(args) => decide::drop_change(&client, args, out),
        DeviceCommand::Undo(args) => decide::undo(&client, args, out),
        DeviceCommand::Verify(args) => return verify::run(&client, args, out),
        DeviceCommand::Uncaptured => verify::uncaptured(&client, out),
        DeviceCommand::Log(args) => log::log(&client, args, out),
        DeviceCommand::Logs => log::logs(&client, out),
        // Done above, without a client that has the store open.
        DeviceCommand::Rekey(_) => Ok(()),
    }
    .map(|()| 0)
}

/// Opens the store that the arguments mean. Only what talks to the server looks at the token: a
/// token for somebody else in the environment must not stand in the way of reading.
pub(crate) fn open(store: &std::path::Path, who: &Who, signs_in: bool) -> Result<Client, Failure> {
    let user = user(store, who)?;
    let may_make = signs_in || who.model.is_some();
    if !may_make && !Folder::new(store).database(&user)?.exists() {
        let store = store.display();
        let message = format!(
            "{user} has no store in {store} yet; \
             `afield device {store} --user {user} sync` makes it"
        );
        return Err(Failure::usage(message));
    }
    let options = ClientOptions {
        server: who.server.clone(),
        token: who.token.clone().filter(|_| signs_in),
        remember_token: true,
        token_source: who.token_command.clone().map(token::from_command),
        model: who.model.as_deref().map(read_model).transpose()?,
        root_certificates: who.roots.clone(),
        key: who.key(),
        ..ClientOptions::new(store, user)
    };
    let client = Client::open(options)?;
    who.hooks.install(&client)?;
    Ok(client)
}

/// Whose store is meant.
fn user(store: &std::path::Path, who: &Who) -> Result<String, Failure> {
    if let Some(user) = &who.user {
        return Ok(user.clone());
    }
    let named = who.token.as_deref().and_then(token_user);
    let users = Folder::new(store).users()?;
    match (users.as_slice(), named) {
        ([user], _) => Ok(user.clone()),
        ([], Some(user)) => Ok(user),
        ([], None) => Err(Failure::usage(format!(
            "there is no store in {} yet; say whose it will be with --user, or give a token",
            store.display()
        ))),
        (users, Some(user)) if users.contains(&user) => Ok(user),
        (users, _) => Err(Failure::usage(format!(
            "{} holds the stores of {}; name one with --user",
            store.display(),
            users.join(", ")
        ))),
    }
}

/// Reads a model from a file of either kind.
fn read_model(path: &std::path::Path) -> Result<Model, Failure> {
    if path.extension().is_some_and(|ending| ending == "toml") {
        let args = ModelArgs {
            model: path.to_owned(),
            database: None,
        };
        let file = args.read(None, &Output::new(false))?;
        return Ok(resolved(&file)?.device);
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::refused(
            "malformed",
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    Model::from_json(&text).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        Failure::refused("malformed", message)
    })
}

/// Prints what a write did.
fn done(out: &Output, id: &serde_json::Value, words: &str) {
    out.json(&json!({ "id": id }));
    out.say(words);
}
