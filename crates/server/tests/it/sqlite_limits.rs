//! The limits that a storage keeps, on SQLite: one below, at and one above.

use std::sync::Arc;

use afield_protocol::codec::Format;
use afield_protocol::{Change, Code, Frame, Group, GroupId, Op, Pattern, Type, Value};
use afield_server::resolved::{Holds, NamedScope, Scope, ServerModel};
use afield_server::storage::Caller;
use afield_server::storage::conformance::{
    Database as _, ScopedDevice, condition, entity, server_model,
};

use crate::http_support::client::Ask;
use crate::http_support::{Server, kinds, problem, token_of};
use crate::sqlite_database::SqliteDatabase;

const SCHEMA: &str = "CREATE TABLE region_member (user_id TEXT, region_id INTEGER);
    CREATE TABLE firm (id TEXT PRIMARY KEY, region_id INTEGER);
    CREATE TABLE area_task (id INTEGER PRIMARY KEY, code TEXT, region_id INTEGER);
    CREATE INDEX task_region ON area_task (region_id);";

/// Tasks of the regions that a user is a member of.
fn tasks() -> ServerModel {
    let columns = [
        ("id", Type::Integer),
        ("code", Type::Text),
        ("region_id", Type::Integer),
    ];
    let mut task = entity("area_task", Pattern::LastWriteWins, 1, &columns);
    task.local.identifier = afield_protocol::Identifier::Natural;
    task.scope = Scope::Ways(vec![vec![condition(
        "region_id",
        &[],
        Holds::Scope("regions".into()),
    )]]);
    task.local.scope = task.scope.widths();
    let mut model = server_model(vec![task]);
    model.scopes = vec![NamedScope {
        name: "regions".into(),
        query: "SELECT region_id FROM region_member WHERE user_id = :user".into(),
        chosen: None,
    }];
    model
}

/// A database in which ada is a member of so many regions with a task each.
fn database(scope_values: usize, group_changes: usize, members: usize) -> SqliteDatabase {
    let db = SqliteDatabase::with(SCHEMA, tasks()).limits(scope_values, group_changes);
    for region in 0..members {
        db.execute(&format!(
            "INSERT INTO region_member VALUES ('ada', {region});
             INSERT INTO area_task VALUES ({region}, NULL, {region})"
        ));
    }
    db.execute("INSERT INTO region_member VALUES ('bob', 0)");
    db
}

#[test]
fn p9_values_of_a_scope_are_counted_and_no_part_of_them_is_taken_for_all() {
    let db = database(5, 10, 4);
    let mut ada = ScopedDevice::of("ada", None);
    ada.pull(&db, &["area_task"], 100);
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 4); INSERT INTO area_task VALUES (4, NULL, 4)",
    );
    ada.pull(&db, &["area_task"], 100);
    let pull = |ada: &ScopedDevice| {
        let request = ada.request(&["area_task"], 100);
        db.storage().pull(db.model(), &request)
    };
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 5); INSERT INTO area_task VALUES (5, NULL, 5)",
    );
    let error = pull(&ada).unwrap_err();
    assert_eq!(error.code, Code::TOO_MANY_VALUES);
    assert!(!error.is_retryable);
    // Others are not held up, and it goes on where it was.
    ScopedDevice::of("bob", None).pull(&db, &["area_task"], 100);
    db.execute("DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 5");
    ada.pull(&db, &["area_task"], 100);
    assert_eq!(ada.resets, 0);
}

#[test]
fn p9_a_user_with_too_many_values_is_told_and_his_changes_are_taken() {
    let mut db = database(5, 10, 6);
    let model = db.model.clone();
    let server = Server::start_on(Arc::new(db.take_storage()), model);
    let sync = |user: &str, groups: &[Group]| {
        let mut frames = vec![Frame::Hello(server.hello(&[("area_task", None)]))];
        frames.extend(groups.iter().cloned().map(Frame::Group));
        frames.push(Frame::End);
        let body = server.encode(Format::Cbor, &frames);
        Ask::sync(&token_of(user)).body(body).send(server.address)
    };
    let answer = sync("ada", &[]);
    assert_eq!((answer.status, &*answer.code()), (403, "too-many-values"));
    // What he may write does not depend on how much he holds.
    let answer = sync("ada", &[group(1, 1)]);
    assert_eq!(answer.status, 200);
    let frames = server.decode(Format::Cbor, &answer.body);
    assert_eq!(kinds(&frames), ["welcome", "outcome", "settled", "problem"]);
    assert!(matches!(&frames[1], Frame::Outcome(outcome) if outcome.is_applied()));
    assert_eq!(problem(&frames), &Code::TOO_MANY_VALUES);
    assert_eq!(sync("bob", &[]).status, 200);
}

/// Creates so many tasks of the first region.
fn group(id: u8, changes: usize) -> Group {
    let change = |n: usize| Change {
        entity: "area_task".into(),
        op: Op::Create,
        key: vec![Value::Integer(
            i64::try_from(n).unwrap() + 100 * i64::from(id),
        )],
        base: [].into(),
        set: [("region_id".to_owned(), Value::Integer(0))].into(),
    };
    Group::new(GroupId([id; 16]), (0..changes).map(change).collect())
}

#[test]
fn p9_changes_of_a_group_are_counted_and_a_known_one_keeps_its_outcome() {
    let db = database(5, 10, 1);
    let push = |db: &SqliteDatabase, groups: &[Group]| {
        let outcomes = db.storage().push(db.model(), &Caller::user("ada"), groups);
        outcomes.unwrap()
    };
    let outcomes = push(&db, &[group(1, 9), group(2, 10), group(3, 11), group(4, 1)]);
    let applied: Vec<bool> = outcomes.iter().map(|it| it.is_applied()).collect();
    assert_eq!(applied, [true, true, false, true]);
    let codes = outcomes[2].verdicts.iter().map(|it| it.code.clone());
    assert!(codes.eq((0..11).map(|_| Some(Code::GROUP_TOO_LARGE))));
    // Whatever the limit is by now, a repeat is answered as the first time.
    let db = db.limits(5, 5);
    let again = push(&db, &[group(1, 9), group(2, 10), group(3, 11), group(5, 6)]);
    assert_eq!(again[..3], outcomes[..3]);
    assert!(!again[3].is_applied());
    let db = db.limits(5, 100);
    assert_eq!(push(&db, &[group(3, 11)])[0], outcomes[2]);
}
