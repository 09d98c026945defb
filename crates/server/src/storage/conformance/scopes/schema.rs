//! Tables whose rows are not everyone's: one for each shape of a scope.

use afield_protocol::{Pattern, Type, Value};

use super::super::Database;
use crate::resolved::{Condition, Holds, Hop, NamedScope, Scope, ServerEntity};

/// What people hold, and what a path leads through; SQL that every database takes.
const TABLES: &str = "
    CREATE TABLE region_member (user_id TEXT NOT NULL, region_id INTEGER);
    CREATE INDEX region_member_user ON region_member (user_id);
    CREATE TABLE firm (id TEXT PRIMARY KEY, region_id INTEGER);
    CREATE INDEX firm_region ON firm (region_id);";

/// The entities with a scope, and whether their rows are sent whole.
pub const SCOPED: [&str; 7] = [
    "own_task",
    "area_task",
    "firm_task",
    "both_task",
    "any_task",
    "team_task",
    "whole_task",
];

/// The statements that make the tables.
pub(in super::super) fn tables() -> String {
    let task = |name: &&str| {
        let key = match *name {
            "any_task" => "id TEXT NOT NULL, part INTEGER NOT NULL",
            _ => "id INTEGER NOT NULL",
        };
        let primary = match *name {
            "any_task" => "id, part",
            _ => "id",
        };
        let indexes: String = ["owner", "region_id", "firm_id", "team"]
            .map(|column| format!("CREATE INDEX {name}_{column} ON {name} ({column}, {primary});"))
            .concat();
        format!(
            "CREATE TABLE {name} ({key}, owner TEXT, region_id INTEGER, firm_id TEXT, team TEXT, \
             words TEXT, PRIMARY KEY ({primary}));{indexes}"
        )
    };
    TABLES.to_owned() + &SCOPED.iter().map(task).collect::<String>()
}

/// The queries for what users hold.
pub(in super::super) fn scopes() -> Vec<NamedScope> {
    vec![NamedScope {
        name: "regions".into(),
        query: "SELECT region_id FROM region_member WHERE user_id = :user;".into(),
        chosen: None,
    }]
}

/// The entities over the tables.
pub(in super::super) fn entities() -> Vec<ServerEntity> {
    let own = || condition("owner", &[], Holds::User);
    let area = || condition("region_id", &[], Holds::Scope("regions".into()));
    let firm = || {
        let hop = ("firm", "id", "region_id");
        condition("firm_id", &[hop], Holds::Scope("regions".into()))
    };
    let team = || condition("team", &[], Holds::Claim("team".into()));
    vec![
        task("own_task", vec![vec![own()]]),
        task("area_task", vec![vec![area()]]),
        task("firm_task", vec![vec![firm()]]),
        task("both_task", vec![vec![own(), area()]]),
        task(
            "any_task",
            vec![vec![own()], vec![firm(), team()], vec![area()]],
        ),
        task("team_task", vec![vec![team()]]),
        task("whole_task", vec![vec![area()]]),
    ]
}

/// One condition; a hop is table, key and column.
pub fn condition(column: &str, path: &[(&str, &str, &str)], holds: Holds) -> Condition {
    let hop = |(table, key, column): &(&str, &str, &str)| Hop {
        table: (*table).to_owned(),
        key: (*key).to_owned(),
        column: (*column).to_owned(),
    };
    Condition {
        column: column.to_owned(),
        path: path.iter().map(hop).collect(),
        holds,
    }
}

impl ServerEntity {
    /// With a scope.
    #[must_use]
    pub fn scoped(mut self, ways: Vec<Vec<Condition>>) -> Self {
        self.scope = Scope::Ways(ways);
        self.local.scope = self.scope.widths();
        self
    }
}

fn task(name: &str, ways: Vec<Vec<Condition>>) -> ServerEntity {
    use Type::{Integer, Text};
    let pattern = match name {
        "whole_task" => Pattern::ReadOnly,
        "area_task" => Pattern::ReadOnlyOptimized,
        _ => Pattern::LastWriteWins,
    };
    let others = [
        ("owner", Text),
        ("region_id", Integer),
        ("firm_id", Text),
        ("team", Text),
        ("words", Text),
    ];
    let mut attributes = match name {
        "any_task" => vec![("id", Text), ("part", Integer)],
        _ => vec![("id", Integer)],
    };
    let key_width = attributes.len();
    attributes.extend(others);
    super::super::entity(name, pattern, key_width, &attributes).scoped(ways)
}

/// What somebody holds, as lists in SQL.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    pub user: String,
    pub team: Option<String>,
    pub regions: Vec<Value>,
    pub firms: Vec<Value>,
}

impl Holdings {
    /// What the database says that `user` holds.
    pub(super) fn of(db: &dyn Database, user: &str, team: Option<&str>) -> Self {
        let regions = format!("SELECT region_id FROM region_member WHERE user_id = '{user}'");
        let firms = format!("SELECT id FROM firm WHERE region_id IN ({regions})");
        let list = |sql: &str| -> Vec<Value> {
            let rows = db.query(sql);
            let values = rows.into_iter().flatten();
            values.filter(|value| *value != Value::Null).collect()
        };
        Self {
            user: user.to_owned(),
            team: team.map(str::to_owned),
            regions: list(&regions),
            firms: list(&firms),
        }
    }

    /// With what was held before too.
    pub(super) fn and(&mut self, before: &Self) {
        for (mine, other) in [
            (&mut self.regions, &before.regions),
            (&mut self.firms, &before.firms),
        ] {
            mine.extend(other.iter().cloned());
            mine.sort_by_key(|value| format!("{value:?}"));
            mine.dedup();
        }
    }

    /// The condition on a row of `entity` that it is in the scope, in plain SQL.
    pub(super) fn condition(&self, entity: &str) -> String {
        let own = format!("owner = '{}'", self.user);
        let area = format!("region_id IN ({})", listed(&self.regions));
        let firm = format!("firm_id IN ({})", listed(&self.firms));
        let team = match &self.team {
            Some(team) => format!("team = '{team}'"),
            None => "1 = 0".to_owned(),
        };
        match entity {
            "own_task" => own,
            "area_task" | "whole_task" => area,
            "firm_task" => firm,
            "both_task" => format!("{own} AND {area}"),
            "any_task" => format!("({own}) OR ({firm} AND {team}) OR ({area})"),
            "team_task" => team,
            other => panic!("{other} has no scope"),
        }
    }
}

fn listed(values: &[Value]) -> String {
    let literal = |value: &Value| match value {
        Value::Integer(n) => n.to_string(),
        Value::Text(text) => format!("'{text}'"),
        other => panic!("no value of a scope: {other:?}"),
    };
    let all: Vec<String> = values.iter().map(literal).collect();
    match all.as_slice() {
        [] => "NULL".to_owned(),
        all => all.join(", "),
    }
}
