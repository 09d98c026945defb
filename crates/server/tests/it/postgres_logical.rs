//! What logical replication applies is marked: it fires row triggers alone, and only those that say
//! so, with nothing on its search path.

use afield_protocol::Type;
use afield_server::storage::postgres::Snapshot;

use crate::postgres_support::{
    Watch, by_columns, database, execute, model_of, prepared, run, texts,
};

const TABLE: &str = "CREATE TABLE item (id int PRIMARY KEY, region text, name text)";

/// How often it is asked whether something has arrived: for some tens of seconds.
const ATTEMPTS: u32 = 50_000;

#[test]
fn what_replication_applies_is_marked() {
    let (from, to) = (database(TABLE), database(TABLE));
    let attributes = [("id", Type::Integer), ("name", Type::Text)];
    let mut model = model_of("item", 1, &attributes);
    model.entities[0].scope = by_columns(&["region"]);
    prepared(&to, &model);
    let slot = format!("of_{}", from.name);
    from.execute("ALTER TABLE item REPLICA IDENTITY FULL; CREATE PUBLICATION p FOR TABLE item");
    from.execute(&format!(
        "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    ));
    to.execute(&format!(
        "CREATE SUBSCRIPTION s_{slot} CONNECTION '{}' PUBLICATION p \
         WITH (create_slot = false, slot_name = '{slot}', copy_data = false)",
        from.url
    ));
    run(async {
        let mut watch = Watch::of(&to, "public.item").await;
        for (sql, region, expected) in [
            (
                "INSERT INTO item VALUES (1, 'n', 'a'), (2, 's', 'b')",
                "n",
                "1",
            ),
            ("UPDATE item SET region = 's' WHERE id = 1", "n", "1"),
            ("DELETE FROM item WHERE id = 2", "s", "2"),
            ("TRUNCATE item", "s", "reset"),
        ] {
            execute(&from, sql);
            let held = crate::postgres_support::values(0, &[region]);
            let since = watch.since.clone();
            let mut found = Vec::new();
            // Whatever arrives, arrives in one transaction.
            for _ in 0..ATTEMPTS {
                watch.since = Snapshot::clone(&since);
                found = watch.of_scopes(Some(&held)).await;
                if !found.is_empty() {
                    break;
                }
            }
            assert_eq!(found.join(" "), expected, "{sql}");
        }
    });
    let modes = "SELECT string_agg(tgenabled::text, '' ORDER BY tgname) FROM pg_trigger
                 WHERE tgrelid = 'item'::regclass";
    // delete, insert, row, truncate, update
    assert_eq!(texts(&to, modes), ["OORAO"]);
    to.execute(&format!("DROP SUBSCRIPTION s_{slot}"));
}
