//! `afield.toml` as data: every key parsed and checked, nothing held against a database yet.

mod entity;
mod limits;
mod named;
mod postgres_url;
mod rule;
mod settings;

use std::path::{Path, PathBuf};

use afield_protocol::Code;
use toml::de::DeTable;

use super::error::{ModelError, Place, suggestion};
pub use super::reader::{At, Text};
use super::reader::{Reader, Section};
pub use entity::{
    EntitySection, FromServer, IdKind, Listed, LocalAttribute, Scoped, Source, WrittenLookup,
};
pub use limits::LimitsSection;
pub use named::ScopeSection;
pub use postgres_url::{Host, PostgresUrl, SslMode};
pub use rule::WrittenRule;
pub use settings::{AuthSection, DatabaseUrl, KeyFile, ServerSection, SyncSection, TlsFiles};

/// A parsed model file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// The file as it was named.
    pub path: PathBuf,
    /// `[server]`.
    pub server: ServerSection,
    /// `[auth]`.
    pub auth: AuthSection,
    /// `[sync]`: what an app starts with.
    pub sync: SyncSection,
    /// `[limits]`.
    pub limits: LimitsSection,
    /// `[model] version`.
    pub version: u32,
    /// `[unit.…]` in file order.
    pub units: Vec<UnitSection>,
    /// `[local.…]` in file order.
    pub entities: Vec<EntitySection>,
    /// `[scope.…]` in file order.
    pub scopes: Vec<ScopeSection>,
    /// What is no mistake but not what it seems, for the person who wrote it.
    pub warnings: Vec<ModelError>,
}

/// `[unit.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitSection {
    /// Its name.
    pub name: At<String>,
    /// Local names of its entities.
    pub entities: Vec<At<String>>,
    /// Whether they are written only while the server can be reached: where the file says so.
    pub edit_online: Option<Place>,
    /// The byte of the file behind the last of them.
    pub(super) last_end: usize,
}

/// What comes from outside and wins over the file.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `AFIELD_DATABASE_URL`. A relative path in it is relative to the working directory.
    pub database_url: Option<String>,
    /// `AFIELD_LISTEN` or `--listen`.
    pub listen: Option<String>,
}

/// Without the database's URL, which may hold a password.
impl std::fmt::Debug for Overrides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overrides")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl ModelFile {
    /// Reads and parses the file.
    ///
    /// # Errors
    /// Every mistake in it, or that it cannot be read.
    pub fn read(path: &Path, overrides: &Overrides) -> Result<Self, Vec<ModelError>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![ModelError {
                code: Code::MODEL,
                file: path.display().to_string(),
                place: Place { line: 1, column: 1 },
                message: format!(
                    "cannot be read: {error}; name another with --model, or make one with \
                     `afield init --from sqlite:FILE`"
                ),
            }]
        })?;
        Self::parse(&text, path, overrides)
    }

    /// Parses the text of a file that stands at `path`.
    ///
    /// # Errors
    /// Every mistake in it, in file order.
    pub fn parse(text: &str, path: &Path, overrides: &Overrides) -> Result<Self, Vec<ModelError>> {
        let name = path.display().to_string();
        let reader = Reader::new(&name, text);
        let (document, broken) = DeTable::parse_recoverable(text);
        for error in broken {
            let place = reader.place(&error.span().unwrap_or_default());
            reader.wrong(place, format!("no valid TOML: {}", error.message()));
        }
        let top = Section::new(&reader, String::new(), Place::default(), document.get_ref());
        let file = Self::from_document(&top, path, overrides);
        drop(top);
        let (errors, warnings) = reader.finish();
        if errors.is_empty() {
            Ok(Self { warnings, ..file })
        } else {
            Err(errors)
        }
    }

    fn from_document(top: &Section<'_, '_>, path: &Path, overrides: &Overrides) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let server = top.take_section("server");
        let place = server.as_ref().map(|it| it.place).unwrap_or_default();
        let server = ServerSection::read(top.reader, server.as_ref(), folder, overrides);
        let auth = AuthSection::read(top.take_section("auth").as_ref(), folder);
        let sync = SyncSection::read(top.take_section("sync").as_ref());
        let limits = LimitsSection::read(top.take_section("limits").as_ref());
        let version = version(top.take_section("model").as_ref());
        if server.min_version > version {
            let least = server.min_version;
            let message = format!(
                "[server] min_version: no device could have version {least}; `[model] version` is \
                 {version}"
            );
            top.reader.wrong(place, message);
        }
        let units = top
            .take_section("unit")
            .map_or_else(Vec::new, |all| units(&all));
        let entities = top
            .take_section("local")
            .map_or_else(Vec::new, |all| entity::read(&all));
        if let Some(allow) = top.take_section("allow") {
            for (_, reason) in allow.take_all() {
                reason.text();
            }
        }
        let scopes = top
            .take_section("scope")
            .map_or_else(Vec::new, |all| named::read(&all));
        top.finish();
        Self {
            path: path.to_owned(),
            server,
            auth,
            sync,
            limits,
            version,
            units,
            entities,
            scopes,
            warnings: Vec::new(),
        }
    }
}

fn version(section: Option<&Section<'_, '_>>) -> u32 {
    let Some(section) = section else { return 1 };
    let version = section
        .take("version")
        .and_then(|node| node.number(1..=u64::from(u32::MAX)));
    section.finish();
    version
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(1)
}

fn units(all: &Section<'_, '_>) -> Vec<UnitSection> {
    let read = |(name, node): (At<String>, super::reader::Node<'_, '_>)| {
        let section = node.section(format!("[unit.{}]", name.value))?;
        let list = section.take("entities");
        let edit_online = section.take("edit").and_then(|node| read_edit(&node));
        section.finish();
        let Some(list) = list else {
            let message = format!("{}: `entities` is missing; list at least one", section.name);
            section.reader.wrong(section.place, message);
            return None;
        };
        let entities = list.texts()?;
        let last_end = list
            .list()?
            .last()
            .map_or(list.span.end, |last| last.span.end);
        if entities.is_empty() {
            list.wrong("is empty; list at least one entity, or remove the unit");
        }
        Some(UnitSection {
            name,
            entities,
            edit_online,
            last_end,
        })
    };
    all.take_all().into_iter().filter_map(read).collect()
}

/// `edit = "online"`, or `"offline"`, which is so anyway.
fn read_edit(node: &super::reader::Node<'_, '_>) -> Option<Place> {
    match node.text()?.as_str() {
        "online" => Some(node.place),
        "offline" => None,
        other => {
            let near = suggestion(other, ["online", "offline"]);
            node.wrong(format!("unknown {other:?}; {near}"));
            None
        }
    }
}
