//! `afield init`, `add` and `prepare`: from an existing database to one that devices can use.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use afield_server::auth::Secret;
use afield_server::model::add::add as add_table;
use afield_server::model::file::{DatabaseUrl, Overrides};
use afield_server::model::init::{InitOptions, generate};
use afield_server::model::{Checked, ModelFile};
use afield_server::resolved::ServerModel;
use clap::Args;
use serde_json::json;

use crate::database::{self, Prepared, held, measured, named, shown};
use crate::failure::Failure;
use crate::output::Output;

/// Where `init` puts the secret, relative to the model file.
const SECRET_FILE: &str = ".afield/secret";

/// Which model file a command speaks of.
#[derive(Args, Clone)]
pub(crate) struct ModelArgs {
    /// The model file.
    #[arg(
        long,
        env = "AFIELD_MODEL",
        default_value = "afield.toml",
        value_name = "FILE"
    )]
    pub(crate) model: PathBuf,
    /// The database, in place of the one that the model file names.
    #[arg(
        long,
        env = "AFIELD_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,
}

/// `afield init`.
#[derive(Args)]
pub(crate) struct InitArgs {
    /// The database: an SQLite file, `sqlite:FILE`, or `postgres://USER@HOST/DATABASE`.
    #[arg(long, value_name = "DATABASE")]
    from: String,
    /// The model file to write.
    #[arg(
        long,
        env = "AFIELD_MODEL",
        default_value = "afield.toml",
        value_name = "FILE"
    )]
    model: PathBuf,
    /// Write over a model file that exists.
    #[arg(long)]
    force: bool,
}

/// `afield add`.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Tables of the database, by name.
    #[arg(required = true)]
    tables: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
}

/// `afield prepare`.
#[derive(Args, Debug)]
pub(crate) struct PrepareArgs {
    /// Print the exact SQL and change nothing.
    #[arg(long, conflicts_with = "remove")]
    dry_run: bool,
    /// Take change capture out again; nothing of Afield stays in the database.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// Without the database, whose URL may hold a password.
impl fmt::Debug for ModelArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelArgs")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// Without the database, whose URL may hold a password.
impl fmt::Debug for InitArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitArgs")
            .field("model", &self.model)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

impl InitArgs {
    /// Makes `model` from the database file `from`, writing over what is there.
    pub(crate) fn new(from: &Path, model: &Path) -> Self {
        Self {
            from: from.display().to_string(),
            model: model.to_owned(),
            force: true,
        }
    }
}

impl ModelArgs {
    /// Reads the model file; what it warns of goes to standard error.
    pub(crate) fn read(&self, listen: Option<String>, out: &Output) -> Result<ModelFile, Failure> {
        let overrides = Overrides {
            database_url: self.database.clone(),
            listen,
        };
        let file = ModelFile::read(&self.model, &overrides)?;
        for warning in &file.warnings {
            out.note(&warning.to_string());
        }
        Ok(file)
    }
}

/// Holds a model file against its database.
pub(crate) fn resolved(file: &ModelFile) -> Result<ServerModel, Failure> {
    Ok(held(file)?.model)
}

/// Like [`resolved`]; what is worth knowing goes to standard error.
pub(crate) fn checked(file: &ModelFile, out: &Output) -> Result<ServerModel, Failure> {
    let Checked { model, warnings } = held(file)?;
    for warning in &warnings {
        out.note(&warning.to_string());
    }
    Ok(model)
}

/// Writes a model file for an existing database.
pub(crate) fn init(args: &InitArgs, out: &Output) -> Result<(), Failure> {
    let database = named(&args.from)?;
    if args.model.exists() && !args.force {
        let message = format!(
            "{} exists already: add tables with `afield add TABLE`, or write over it with --force",
            args.model.display()
        );
        return Err(Failure::refused("exists", message));
    }
    let catalog = measured(&database)?;
    let folder = folder_of(&args.model);
    let url = url_in(folder, &database)?;
    let options = InitOptions {
        database_url: &url,
        secret_file: SECRET_FILE,
    };
    let text = generate(&catalog, &options);
    let secret = folder.join(SECRET_FILE);
    if !secret.exists() {
        Secret::create(&secret).map_err(|error| Failure::refused("secret", error.to_string()))?;
        ignore(&folder.join(".afield"))?;
    }
    write(&args.model, &text)?;
    let file = ModelFile::parse(&text, &args.model, &Overrides::default())?;
    let names: Vec<_> = file
        .entities
        .iter()
        .map(|entity| entity.name.value.as_str())
        .collect();
    out.json(&json!({ "model": args.model, "database": url, "entities": names }));
    out.say(&format!(
        "Wrote {} for {} of {} tables of {}; each proposal says why.",
        args.model.display(),
        names.len(),
        catalog.tables.len(),
        url
    ));
    out.say("Devices get every row of them until you narrow `scope`.");
    if let DatabaseUrl::Postgres(url) = &database
        && url.password().is_some()
    {
        out.say(
            "The password is not in the file: give it in PGPASSWORD, or the whole URL in \
             AFIELD_DATABASE_URL.",
        );
    }
    let model = match args.model.to_str() {
        Some("afield.toml") => String::new(),
        _ => format!(" --model {}", args.model.display()),
    };
    out.say(&format!(
        "Next:\n  \
         afield prepare{model}              # installs change capture; --dry-run shows it\n  \
         afield serve{model}\n  \
         afield token{model} --user ann     # lets a device in"
    ));
    Ok(())
}

/// Adds tables to a model file.
pub(crate) fn add(args: &AddArgs, out: &Output) -> Result<(), Failure> {
    let file = args.model.read(None, out)?;
    let catalog = measured(&file.server.database)?;
    let overrides = Overrides {
        database_url: args.model.database.clone(),
        listen: None,
    };
    let path = &args.model.model;
    let mut text = fs::read_to_string(path).map_err(|error| cannot("read", path, &error))?;
    for table in &args.tables {
        text = add_table(&text, path, &overrides, &catalog, table)?;
    }
    write(path, &text)?;
    out.json(&json!({ "model": path, "added": args.tables }));
    out.say(&format!(
        "Added {} to {}.",
        args.tables.join(", "),
        path.display()
    ));
    out.say("Next: afield prepare, then start the server again.");
    Ok(())
}

/// Installs, shows or removes change capture.
pub(crate) fn prepare(args: &PrepareArgs, out: &Output) -> Result<(), Failure> {
    let file = args.model.read(None, out)?;
    let database = &file.server.database;
    let name = shown(database);
    if args.remove {
        let removed = database::remove(database)?;
        out.json(&json!({ "removed": removed }));
        out.say(&match removed.len() {
            0 => format!("{name} holds nothing of Afield."),
            n => format!("Removed {n} objects; nothing of Afield is left in {name}."),
        });
        return Ok(());
    }
    let model = checked(&file, out)?;
    if args.dry_run {
        show(&database::plan(database, &model)?, out);
        return Ok(());
    }
    let prepared = database::prepare(database, &model, random)?;
    let (done, tables) = (prepared.steps.len(), &prepared.tables);
    let slow = &prepared.warnings;
    out.json(&json!({ "statements": done, "tables": tables, "warnings": slow }));
    for warning in slow {
        out.say(&format!("Warning: {warning}"));
    }
    out.say(&match done {
        0 => format!("Nothing to do; captured tables: {}.", tables.len()),
        _ => format!(
            "Prepared {name}; captured tables: {}. `afield prepare --remove` undoes it.",
            tables.len()
        ),
    });
    Ok(())
}

/// What would be run, for `--dry-run`.
fn show(plan: &Prepared, out: &Output) {
    for step in &plan.steps {
        out.say(&format!("-- {}\n{};\n", step.reason, step.sql));
    }
    for warning in &plan.warnings {
        out.say(&format!("-- {warning}"));
    }
    let steps = plan.steps.iter();
    let sql: Vec<_> = steps
        .map(|step| json!({ "sql": step.sql, "reason": step.reason }))
        .collect();
    out.json(&json!({ "statements": sql, "warnings": plan.warnings }));
    if plan.steps.is_empty() {
        out.say("Nothing to do: change capture is in place.");
    }
}

/// Fills `bytes` from the system's source of randomness.
pub(crate) fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has randomness to give");
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The database as the model file in `folder` names it: without a password.
fn url_in(folder: &Path, database: &DatabaseUrl) -> Result<String, Failure> {
    match database {
        DatabaseUrl::Sqlite(path) => Ok(format!("sqlite:{}", relative(path, folder).display())),
        DatabaseUrl::Postgres(url) => match &url.root_cert {
            Some(file) if file.is_relative() && folder != Path::new(".") => Err(Failure::usage(
                "--from: write the file of sslrootcert with its whole path, because the model \
                 file stands in another folder",
            )),
            _ => Ok(url.to_string()),
        },
    }
}

/// `path` as the model file in `folder` names it: as given if both are relative to here, or
/// absolute.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    if folder == Path::new(".") || path.is_absolute() {
        return path.to_owned();
    }
    match path.strip_prefix(folder) {
        Ok(inside) => inside.to_owned(),
        Err(_) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

/// Keeps the secret out of version control.
fn ignore(folder: &Path) -> Result<(), Failure> {
    let path = folder.join(".gitignore");
    fs::write(&path, "*\n").map_err(|error| cannot("write", &path, &error))
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("toml.new");
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused("file", format!("cannot {what} {}: {error}", path.display()))
}
