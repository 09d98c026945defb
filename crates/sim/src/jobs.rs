//! Projects that are open on a device or not, and jobs that show what others have.
//!
//! ```text
//! project  those that the app chose, and that its user has a seat in
//! job      its owner's, and those of such projects; shows the name of its project and, by its
//!          project, the title of a depot; has rules
//! van      everyone's; shows the place of its depot
//!
//! seat (user, project), depot (id, title, place), project.depot_id, van.depot_id: the team's own,
//! which no device gets
//! ```

use std::collections::BTreeSet;

use afield_protocol::rule::Matches;
use afield_protocol::{Chosen, ChosenScope, Code, Literal, Model, Rule, Type, Value};
use afield_server::resolved::{Condition, Holds, Hop, Lookup, NamedScope, Scope};

use crate::{app, scoped};

/// Projects that there are at first; jobs may refer to these, and to one more.
pub(crate) const PROJECTS: u32 = 5;

/// Depots at first; projects may refer to these, and to one more.
pub(crate) const DEPOTS: u32 = 3;

/// Jobs at first.
const JOBS: u32 = 14;

/// Vans at first.
pub(crate) const VANS: u32 = 8;

/// The scope whose values the app chooses.
pub(crate) const OPEN: &str = "open_projects";

/// How long a project stays open.
pub(crate) const KEEP_MS: i64 = 2 * 60 * 60 * 1_000;

/// Most characters of a title.
const TITLE_MAX: usize = 20;

/// What a title must match.
const TITLE: &str = "^~s[0-9a-z]+~$";

/// The kinds of jobs.
const KINDS: [&str; 3] = ["big", "small", "odd"];

/// The highest level.
const LEVEL_MAX: i64 = 1 << 40;

/// The oracle's own word on what a job shows of its project.
pub(crate) const PROJECT_NAME: &str =
    "(SELECT p.name FROM project AS p WHERE p.id = job.project_id)";

/// The same of its project's depot.
pub(crate) const DEPOT_TITLE: &str = "(SELECT d.title FROM project AS p JOIN depot AS d \
                                      ON d.id = p.depot_id WHERE p.id = job.project_id)";

/// The same of a van's depot.
pub(crate) const VAN_DEPOT: &str = "(SELECT d.place FROM depot AS d WHERE d.id = van.depot_id)";

/// The oracle's own word on whose a project may be, once it is open.
pub(crate) const PROJECT_IS_MINE: &str =
    "EXISTS (SELECT 1 FROM seat AS s WHERE s.user = ?1 AND s.project = project.id)";

/// The same of a job.
pub(crate) const JOB_IS_MINE: &str = "job.owner = ?1 OR EXISTS (SELECT 1 FROM seat AS s \
                                      WHERE s.user = ?1 AND s.project = job.project_id)";

/// Whose rows of an entity are.
pub(crate) fn ways(entity: usize) -> Scope {
    let condition = |column: &str, holds| Condition {
        column: column.to_owned(),
        path: Vec::new(),
        holds,
    };
    let open = |column| vec![condition(column, Holds::Scope(OPEN.to_owned()))];
    match entity {
        app::PROJECT => Scope::Ways(vec![open("id")]),
        _ => Scope::Ways(vec![
            vec![condition("owner", Holds::User)],
            open("project_id"),
        ]),
    }
}

/// The scope whose values the app chooses, as the server has it.
pub(crate) fn scope() -> NamedScope {
    NamedScope {
        name: OPEN.to_owned(),
        query: "SELECT 1 FROM seat WHERE user = :user AND project = :value".to_owned(),
        chosen: Some(Type::Integer),
    }
}

/// The same as devices have it.
pub(crate) fn chosen() -> Vec<ChosenScope> {
    vec![ChosenScope {
        name: OPEN.to_owned(),
        kind: Type::Integer,
        keep_ms: KEEP_MS.unsigned_abs(),
    }]
}

/// What rows of an entity show of others.
pub(crate) fn lookups(entity: usize) -> Vec<Lookup> {
    let hop = |table: &str, column: &str| Hop {
        table: table.to_owned(),
        key: "id".to_owned(),
        column: column.to_owned(),
    };
    let through = |column: &str, path| Lookup {
        column: column.to_owned(),
        path,
        scale: None,
    };
    match entity {
        app::JOB => vec![
            through("project_id", vec![hop("project", "name")]),
            through(
                "project_id",
                vec![hop("project", "depot_id"), hop("depot", "title")],
            ),
        ],
        app::VAN => vec![through("depot_id", vec![hop("depot", "place")])],
        _ => Vec::new(),
    }
}

/// The rule of an attribute.
pub(crate) fn rule(entity: usize, attribute: &str) -> Rule {
    match (entity, attribute) {
        (app::JOB, "title") => Rule {
            required: true,
            max_length: u32::try_from(TITLE_MAX).ok(),
            matches: Matches::new(TITLE).ok(),
            ..Rule::default()
        },
        (app::JOB, "kind") => Rule {
            one_of: KINDS.map(|kind| Literal::Text(kind.to_owned())).to_vec(),
            ..Rule::default()
        },
        (app::JOB, "level") => Rule {
            min: Some(Literal::Integer(0)),
            max: Some(Literal::Integer(LEVEL_MAX)),
            ..Rule::default()
        },
        _ => Rule::default(),
    }
}

/// The model before anybody thought of rules.
pub(crate) fn without_rules(mut model: Model) -> Model {
    let attributes = model.entities.iter_mut().flat_map(|it| &mut it.attributes);
    attributes.for_each(|attribute| attribute.rule = Rule::default());
    model
}

/// The oracle's own word on whether a value breaks a rule.
pub(crate) fn breaks(entity: usize, at: usize, value: &Value) -> bool {
    if entity != app::JOB {
        return false;
    }
    match (app::attribute_name(entity, at), value) {
        ("title", Value::Text(title)) => title.chars().count() > TITLE_MAX || !is_title(title),
        ("title", _) => true,
        ("kind", Value::Text(kind)) => !KINDS.contains(&kind.as_str()),
        ("level", Value::Integer(level)) => !(0..=LEVEL_MAX).contains(level),
        _ => false,
    }
}

/// Whether a code speaks of a rule.
pub(crate) fn is_rule(code: &Code) -> bool {
    let rules = [
        Code::NOT_NULL,
        Code::TOO_LONG,
        Code::NO_MATCH,
        Code::OUT_OF_RANGE,
        Code::NOT_ONE_OF,
    ];
    rules.contains(code)
}

/// Whether it breaks one that every program is held to that writes into a device's file: titles
/// are matched where the library's own transactions are sealed, and on the server.
pub(crate) fn breaks_for_all(entity: usize, at: usize, value: &Value) -> bool {
    match (app::attribute_name(entity, at), value) {
        ("title", Value::Text(title)) => title.chars().count() > TITLE_MAX,
        _ => breaks(entity, at, value),
    }
}

fn is_title(text: &str) -> bool {
    let word = text
        .strip_prefix("~s")
        .and_then(|rest| rest.strip_suffix('~'));
    let is_plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    word.is_some_and(|word| !word.is_empty() && word.chars().all(is_plain))
}

/// The team's own tables and columns.
pub(crate) fn schema() -> String {
    "CREATE TABLE seat (user TEXT, project INTEGER, PRIMARY KEY (user, project)) WITHOUT ROWID;\n\
     CREATE TABLE depot (id INTEGER PRIMARY KEY, title TEXT, place TEXT);\n\
     ALTER TABLE project ADD COLUMN depot_id INTEGER;\n\
     ALTER TABLE van ADD COLUMN depot_id INTEGER;\n\
     CREATE INDEX van_depot ON van (depot_id);\n\
     CREATE INDEX job_project ON job (project_id);\n\
     CREATE INDEX job_owner ON job (owner);\n\
     CREATE INDEX project_depot ON project (depot_id);\n"
        .to_owned()
}

/// What a world with projects begins with.
pub(crate) fn beginnings() -> String {
    let mut sql = "INSERT INTO seat VALUES ('user0', 1), ('user0', 2), ('user0', 3), \
                   ('user1', 2), ('user1', 3), ('user1', 4), ('user2', 1), ('user2', 4);\n"
        .to_owned();
    for id in 1..=DEPOTS {
        let title = scoped::text(&format!("d{id}"));
        sql += &format!("INSERT INTO depot VALUES ({id}, '{title}', 'place {id}');\n");
    }
    for id in 1..=PROJECTS {
        let name = scoped::text(&format!("p{id}"));
        let depot = id % (DEPOTS + 1) + 1;
        sql += &format!("INSERT INTO project VALUES ({id}, '{name}', NULL, {depot});\n");
    }
    for id in 1..=VANS {
        let name = scoped::text(&format!("v{id}"));
        sql += &format!("INSERT INTO van VALUES ({id}, '{name}', {});\n", id % 3 + 1);
    }
    for id in 1..=JOBS {
        let (key, project, owner) = (app::uuid(id), id % PROJECTS + 1, id % scoped::USERS);
        let title = scoped::text(&format!("j{id}"));
        sql += &format!(
            "INSERT INTO job VALUES ('{key}', {project}, 'user{owner}', '{title}', 'odd', {id});\n"
        );
    }
    sql
}

/// The value that a number stands for.
pub(crate) fn value(attribute: &str, n: u32) -> Value {
    // Edits make each number of eight.
    let n_of_edit = n / 8;
    match attribute {
        "project" => Value::Integer((n_of_edit % (PROJECTS + 2) + 1).into()),
        "owner" => Value::Text(scoped::user((n_of_edit % scoped::USERS) as usize)),
        "kind" => Value::Text(KINDS[n_of_edit as usize % KINDS.len()].to_owned()),
        "level" => Value::Integer(n.into()),
        _ => Value::Text(scoped::text(&n.to_string())),
    }
}

/// An attribute of a job, and a value of it that breaks a rule.
pub(crate) fn broken(n: u32) -> (usize, Value) {
    let place = |name| app::attribute_place(app::JOB, name);
    match n % 5 {
        0 => (place("title"), Value::Null),
        1 => (
            place("title"),
            Value::Text(scoped::text(&format!("{n:024}"))),
        ),
        2 => (place("title"), Value::Text(scoped::text(&format!("{n}X")))),
        3 => (place("kind"), Value::Text("none".to_owned())),
        _ => (place("level"), Value::Integer(-i64::from(n) - 1)),
    }
}

/// The projects among values that an app chose.
pub(crate) fn open(chosen: &[Chosen]) -> BTreeSet<i64> {
    let values = chosen.iter().filter(|it| it.scope == OPEN);
    let projects = values
        .flat_map(|it| &it.values)
        .filter_map(|value| match value {
            Value::Integer(project) => Some(*project),
            _ => None,
        });
    projects.collect()
}

/// The row's value of the scope whose values are chosen, or its owner's name: what must be so for
/// a device with these projects open.
pub(crate) fn is_open(entity: usize, row: &[Value], user: usize, open: &BTreeSet<i64>) -> bool {
    let is_open = |value: &Value| matches!(value, Value::Integer(id) if open.contains(id));
    match entity {
        app::PROJECT => is_open(&row[0]),
        app::JOB => {
            let owner = &row[app::attribute_place(app::JOB, "owner")];
            *owner == Value::Text(scoped::user(user))
                || is_open(&row[app::attribute_place(app::JOB, "project")])
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_broken_breaks_the_rule_of_the_model() {
        for n in 0..20 {
            let (at, value) = broken(n);
            let rule = rule(app::JOB, app::attribute_name(app::JOB, at));
            assert!(breaks(app::JOB, at, &value), "{value}");
            assert!(
                rule.check(app::kind(app::JOB, at), &value).is_err(),
                "{value}"
            );
        }
    }
}
