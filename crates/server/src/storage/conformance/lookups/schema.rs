//! Tables whose rows show what other rows have, and the model over them.

use afield_protocol::Pattern::{
    DetectConflicts as Detect, LastWriteWins as Lww, ReadOnly, ReadOnlyOptimized,
};
use afield_protocol::Type::{Integer, Text};
use afield_protocol::{Attribute, Pattern, Type};

use super::super::{entity, server_model};
use crate::resolved::{
    Condition, Holds, Hop, Lookup, NamedScope, Scope, ServerEntity, ServerModel,
};

/// The entities with lookups, and the condition by which their rows are a user's.
pub const SHOWING: [(&str, &str); 7] = [
    ("job", "1 = 1"),
    ("far_job", "1 = 1"),
    ("own_job", "j.owner = '{user}'"),
    (
        "area_job",
        "j.area IN (SELECT area FROM holder WHERE who = '{user}')",
    ),
    ("whole_job", "1 = 1"),
    (
        "whole_area_job",
        "j.area IN (SELECT area FROM holder WHERE who = '{user}')",
    ),
    ("tree", "1 = 1"),
];

/// No foreign keys: what is referred to may go.
const TABLES: &str = "
    CREATE TABLE region (id INTEGER PRIMARY KEY NOT NULL, name TEXT, note TEXT);
    CREATE TABLE firm (
      id TEXT PRIMARY KEY, name TEXT, region_id INTEGER, code TEXT UNIQUE, phone TEXT
    );
    CREATE INDEX firm_region ON firm (region_id, id);
    CREATE TABLE holder (who TEXT, area INTEGER);
    CREATE TABLE tree (id INTEGER PRIMARY KEY NOT NULL, parent_id INTEGER, name TEXT);
    CREATE INDEX tree_parent ON tree (parent_id);";

/// The tables' statements.
pub fn lookups_schema() -> String {
    let job = |(name, _): &(&str, &str)| {
        let (key, primary) = match *name {
            "area_job" => ("id INTEGER NOT NULL, part TEXT NOT NULL", "id, part"),
            _ => ("id INTEGER NOT NULL", "id"),
        };
        let indexes: String = ["firm_id", "boss_code", "owner", "area"]
            .map(|column| format!("CREATE INDEX {name}_{column} ON {name} ({column}, {primary});"))
            .concat();
        format!(
            "CREATE TABLE {name} ({key}, firm_id TEXT, boss_code TEXT, owner TEXT, area INTEGER, \
             words TEXT, PRIMARY KEY ({primary}));{indexes}"
        )
    };
    let jobs = SHOWING.iter().filter(|(name, _)| *name != "tree");
    TABLES.to_owned() + &jobs.map(job).collect::<String>()
}

/// The model over [`lookups_schema`].
pub fn lookups_model() -> ServerModel {
    let firm = [
        ("id", Text),
        ("name", Text),
        ("region_id", Integer),
        ("phone", Text),
    ];
    let tree = [("id", Integer), ("parent_id", Integer), ("name", Text)];
    let parent = |column| hop("tree", "id", column);
    let tree = entity("tree", Lww, 1, &tree)
        .showing("parent_name", "parent_id", vec![parent("name")])
        .showing(
            "grand_name",
            "parent_id",
            vec![parent("parent_id"), parent("name")],
        );
    let mut model = server_model(vec![
        entity("firm", Lww, 1, &firm),
        job("job", Lww),
        far_job(),
        job("own_job", Detect).of("owner", Holds::User),
        job("area_job", ReadOnlyOptimized).of("area", Holds::Scope("areas".into())),
        job("whole_job", ReadOnly),
        job("whole_area_job", ReadOnly).of("area", Holds::Scope("areas".into())),
        tree,
    ]);
    model.scopes = vec![NamedScope {
        name: "areas".into(),
        query: "SELECT area FROM holder WHERE who = :user".into(),
        chosen: None,
    }];
    model
}

fn job(name: &str, pattern: Pattern) -> ServerEntity {
    let own: [(&str, Type); 5] = [
        ("firm_id", Text),
        ("boss_code", Text),
        ("owner", Text),
        ("area", Integer),
        ("words", Text),
    ];
    let mut attributes = vec![("id", Integer)];
    attributes.extend((name == "area_job").then_some(("part", Text)));
    let key_width = attributes.len();
    attributes.extend(own);
    let firm = |column| hop("firm", "id", column);
    entity(name, pattern, key_width, &attributes)
        .showing("firm_name", "firm_id", vec![firm("name")])
        .showing(
            "region_name",
            "firm_id",
            vec![firm("region_id"), hop("region", "id", "name")],
        )
        .showing("boss_name", "boss_code", vec![hop("firm", "code", "name")])
}

/// Shows the end of a chain and nothing on the way.
fn far_job() -> ServerEntity {
    let mut job = job("far_job", Lww);
    let far = |attribute: &Attribute| !attribute.lookup || attribute.name == "region_name";
    job.local.attributes.retain(far);
    job.lookups.retain(|lookup| lookup.path.len() == 2);
    job
}

fn hop(table: &str, key: &str, column: &str) -> Hop {
    Hop {
        table: table.into(),
        key: key.into(),
        column: column.into(),
    }
}

impl ServerEntity {
    /// With a lookup of texts.
    fn showing(mut self, name: &str, column: &str, path: Vec<Hop>) -> Self {
        let mut attribute = Attribute::new(name, Text);
        attribute.read_only = true;
        attribute.lookup = true;
        self.local.attributes.push(attribute);
        self.lookups.push(Lookup {
            column: column.into(),
            path,
            scale: None,
        });
        self
    }

    /// With rows of those who hold what a column has.
    fn of(mut self, column: &str, holds: Holds) -> Self {
        self.scope = Scope::Ways(vec![vec![Condition {
            column: column.into(),
            path: Vec::new(),
            holds,
        }]]);
        self.local.scope = self.scope.widths();
        self
    }
}

/// The rows of an entity that a user's device shows, by plain joins.
pub(super) fn truth(entity: &str, user: &str) -> String {
    if entity == "tree" {
        return "SELECT j.id, j.parent_id, j.name, p.name, g.name FROM tree j \
                LEFT JOIN tree p ON p.id = j.parent_id LEFT JOIN tree g ON g.id = p.parent_id"
            .to_owned();
    }
    let (_, condition) = SHOWING.iter().find(|(name, _)| *name == entity).unwrap();
    let condition = condition.replace("{user}", user);
    let part = if entity == "area_job" { "j.part, " } else { "" };
    let shown = match entity {
        "far_job" => "r.name",
        _ => "f.name, r.name, b.name",
    };
    format!(
        "SELECT j.id, {part}j.firm_id, j.boss_code, j.owner, j.area, j.words, {shown} \
         FROM {entity} j LEFT JOIN firm f ON f.id = j.firm_id \
         LEFT JOIN region r ON r.id = f.region_id LEFT JOIN firm b ON b.code = j.boss_code \
         WHERE {condition}"
    )
}
