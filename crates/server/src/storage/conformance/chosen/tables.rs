//! Tables of projects that people open and close again.

use afield_protocol::Type::{Integer, Text, Uuid};
use afield_protocol::{ChosenScope, Pattern, Reference, Type};

use super::super::{condition, entity, server_model};
use crate::resolved::{Holds, NamedScope, ServerEntity, ServerModel};

/// The tables; SQL that every database takes. Ada may choose 1, 2 and 3, Eve 3 and 4; nobody 5.
const TABLES: &str = "
    CREATE TABLE project_member (
      user_id TEXT NOT NULL, project_id INTEGER NOT NULL, PRIMARY KEY (user_id, project_id)
    );
    CREATE TABLE place_member (
      user_id TEXT NOT NULL, place_id TEXT /*uuid*/ NOT NULL, PRIMARY KEY (user_id, place_id)
    );
    CREATE TABLE visit (id INTEGER PRIMARY KEY NOT NULL, project_id INTEGER, words TEXT);
    CREATE INDEX visit_project ON visit (project_id, id);
    CREATE TABLE remark (
      id INTEGER PRIMARY KEY NOT NULL, visit_id INTEGER REFERENCES visit (id), words TEXT
    );
    CREATE INDEX remark_visit ON remark (visit_id, id);
    CREATE TABLE sheet (
      id INTEGER PRIMARY KEY NOT NULL, owner TEXT, project_id INTEGER, words TEXT
    );
    CREATE INDEX sheet_owner ON sheet (owner, id);
    CREATE INDEX sheet_project ON sheet (project_id, id);
    CREATE TABLE plan (id INTEGER PRIMARY KEY NOT NULL, place_id TEXT /*uuid*/, words TEXT);
    CREATE INDEX plan_place ON plan (place_id, id);
    INSERT INTO project_member VALUES
      ('ada', 1), ('ada', 2), ('ada', 3), ('eve', 3), ('eve', 4);
    INSERT INTO place_member VALUES ('ada', '0190B3A1-5C1E-7CC3-98A1-00000000000A');
    INSERT INTO visit VALUES
      (10, 1, 'one'), (11, 1, 'one'), (20, 2, 'two'), (30, 3, 'three'), (40, 4, 'marker-eve'),
      (50, 5, 'marker-nobody'), (60, NULL, 'marker-null');
    INSERT INTO remark VALUES
      (1, 10, 'one'), (2, 20, 'two'), (3, 30, 'three'), (4, 40, 'marker-eve'), (5, NULL, 'null');
    INSERT INTO sheet VALUES
      (1, 'ada', 1, 'one'), (2, 'eve', 1, 'marker-eve'), (3, 'ada', 2, 'two'),
      (4, 'ada', 4, 'marker-eve');
    INSERT INTO plan VALUES
      (1, '0190B3A1-5C1E-7CC3-98A1-00000000000A', 'mine'),
      (2, '0190B3A1-5C1E-7CC3-98A1-00000000000B', 'marker-eve');";

/// The tables' statements.
pub fn chosen_schema() -> String {
    TABLES.to_owned()
}

/// The model over [`chosen_schema`].
pub fn chosen_model() -> ServerModel {
    let projects = || Holds::Scope("projects".into());
    let project = || condition("project_id", &[], projects());
    let of_visit = condition("visit_id", &[("visit", "id", "project_id")], projects());
    let owner = condition("owner", &[], Holds::User);
    let place = condition("place_id", &[], Holds::Scope("places".into()));
    let visit = [("id", Integer), ("project_id", Integer), ("words", Text)];
    let remark = [("id", Integer), ("visit_id", Integer), ("words", Text)];
    let sheet = [
        ("id", Integer),
        ("owner", Text),
        ("project_id", Integer),
        ("words", Text),
    ];
    let plan = [("id", Integer), ("place_id", Uuid), ("words", Text)];
    let made = |name, pattern, attributes: &[(&str, Type)]| entity(name, pattern, 1, attributes);
    let mut remark = made("remark", Pattern::LastWriteWins, &remark).scoped(vec![vec![of_visit]]);
    remark.local.references = vec![Reference {
        attributes: vec!["visit_id".into()],
        entity: "visit".into(),
    }];
    let entities: Vec<ServerEntity> = vec![
        made("visit", Pattern::LastWriteWins, &visit).scoped(vec![vec![project()]]),
        remark,
        made("sheet", Pattern::LastWriteWins, &sheet).scoped(vec![vec![owner, project()]]),
        made("plan", Pattern::ReadOnly, &plan).scoped(vec![vec![place]]),
    ];
    let mut model = server_model(entities);
    let scopes = [
        (
            "projects",
            "SELECT 1 FROM project_member WHERE user_id = :user AND project_id = :value",
            Integer,
        ),
        (
            "places",
            "SELECT count(*) FROM place_member WHERE user_id = :user AND :value = place_id",
            Uuid,
        ),
    ];
    for (name, query, kind) in scopes {
        model.scopes.push(NamedScope {
            name: name.into(),
            query: query.into(),
            chosen: Some(kind),
        });
        model.device.chosen.push(ChosenScope {
            name: name.into(),
            kind,
            keep_ms: 60_000,
        });
    }
    model
}
