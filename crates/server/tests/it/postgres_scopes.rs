//! Several servers, and servers that remember nothing, on one PostgreSQL: what devices say of
//! themselves is enough.

use afield_server::storage::Storage;
use afield_server::storage::conformance::{
    Database, ScopedDevice, chosen_model, chosen_schema, for_postgres,
};

use crate::postgres_database::PostgresDatabase;

/// Without a memory, each device must say what it has.
#[test]
fn p5_devices_choose_apart_from_a_server_that_remembers_nothing() {
    let mut db = PostgresDatabase::with(&for_postgres(&chosen_schema()), chosen_model());
    let forgetful = db.another().with_list_memory(0);
    db.answered_by(forgetful);
    afield_server::storage::conformance::p5_devices_of_one_user_choose_apart(&mut db);
}

/// Nor does it matter which of several servers answers: what one remembers the other asks for.
#[test]
fn p5_two_servers_share_the_devices_of_one_database() {
    let db = PostgresDatabase::new();
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1), ('ada', 2);
         INSERT INTO area_task SELECT n, NULL, 1 + n % 3, NULL, NULL, 'w'
         FROM generate_series(1, 20) n",
    );
    let other = db.another();
    let mut ada = ScopedDevice::of("ada", None);
    for round in 0..4 {
        for server in [db.own(), &other] {
            for _ in 0..3 {
                let mut request = ada.request(&["area_task"], 2);
                request.held = ada.held(&["area_task"]);
                let page = server.pull(db.model(), &request).unwrap();
                ada.note(&db);
                ada.apply(&db, &page);
            }
        }
        let region = 1 + round % 2;
        db.execute(&format!(
            "DELETE FROM region_member WHERE region_id = {region};
             INSERT INTO region_member VALUES ('ada', {});
             UPDATE area_task SET words = words || 'x' WHERE id % 4 = {round}",
            3 - region
        ));
    }
    ada.pull(&db, &["area_task"], 3);
    assert_eq!(ada.resets, 0);
}
