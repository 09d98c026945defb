//! What is news to whom.

use super::super::scopes::fill;
use super::{Caller, Database, assert_heard, listening, of_team};

/// Every kind of write to a row reaches those whose it is or was, and nobody else.
pub fn p5_p7_writes_are_news_to_whose_rows_they_touch(db: &mut dyn Database) {
    fill(db);
    let who = [
        of_team("ada", "red"),
        of_team("bob", "blue"),
        Caller::user("eve"),
    ];
    let mut to = listening(db, &who);
    let to = &mut to;
    let key = "(id, owner, region_id, firm_id, team, words)";
    // By the user's name.
    let all = format!("INSERT INTO own_task {key} VALUES (100, 'ada', 9, NULL, NULL, '')");
    assert_heard(db, to, &all, &[&["own_task"], &[], &[]]);
    let sql = "UPDATE own_task SET words = 'x' WHERE id = 100";
    assert_heard(db, to, sql, &[&["own_task"], &[], &[]]);
    let sql = "UPDATE own_task SET owner = 'bob' WHERE id = 100";
    assert_heard(db, to, sql, &[&["own_task"], &["own_task"], &[]]);
    let sql = "UPDATE own_task SET owner = 'eve' WHERE id = 100";
    assert_heard(db, to, sql, &[&[], &["own_task"], &["own_task"]]);
    let sql = "UPDATE own_task SET id = 101 WHERE id = 100";
    assert_heard(db, to, sql, &[&[], &[], &["own_task"]]);
    let sql = "DELETE FROM own_task WHERE id = 101";
    assert_heard(db, to, sql, &[&[], &[], &["own_task"]]);
    // By a claim.
    let sql = "UPDATE team_task SET words = 'x' WHERE team = 'red'";
    assert_heard(db, to, sql, &[&["team_task"], &[], &[]]);
    // By what a query finds: ada holds 1 and 2, bob 2 and 3.
    let area = |region| format!("UPDATE area_task SET words = 'x' WHERE region_id = {region}");
    assert_heard(db, to, &area(1), &[&["area_task"], &[], &[]]);
    assert_heard(db, to, &area(2), &[&["area_task"], &["area_task"], &[]]);
    assert_heard(db, to, &area(4), &[&[], &[], &[]]);
    let sql = "UPDATE whole_task SET region_id = 3 WHERE region_id = 1";
    assert_heard(db, to, sql, &[&["whole_task"], &["whole_task"], &[]]);
    // Through another table: f1 is in 1, f3 in 3, f4 nowhere.
    let firm = |firm| format!("UPDATE firm_task SET words = 'x' WHERE firm_id = '{firm}'");
    assert_heard(db, to, &firm("f1"), &[&["firm_task"], &[], &[]]);
    assert_heard(db, to, &firm("f3"), &[&[], &["firm_task"], &[]]);
    assert_heard(db, to, &firm("f4"), &[&[], &[], &[]]);
    // Everyone's.
    let sql = "INSERT INTO company VALUES ('A', 'Adler', 1)";
    let company: &[&str] = &["company"];
    assert_heard(db, to, sql, &[company, company, company]);
    // Two tables in one transaction.
    let sql = "DELETE FROM own_task WHERE owner = 'ada'; DELETE FROM company";
    assert_heard(db, to, sql, &[&["company", "own_task"], company, company]);
}

/// A row belongs to who holds all values of one way in: what only comes near is nobody's news.
pub fn p7_rows_that_match_in_part_are_no_news(db: &mut dyn Database) {
    fill(db);
    let who = [of_team("ada", "red"), of_team("bob", "blue")];
    let mut to = listening(db, &who);
    let row = |entity: &str, id: &str, owner: &str, region: u32, firm: &str, team: &str| {
        format!("INSERT INTO {entity} VALUES ({id}, '{owner}', {region}, '{firm}', '{team}', 'x')")
    };
    // Ada's region in bob's row, and bob's region in hers, side by side in one transaction.
    let sql = [
        row("both_task", "100", "bob", 1, "f1", "red"),
        row("both_task", "101", "ada", 3, "f1", "red"),
    ];
    assert_heard(db, &mut to, &sql.join("; "), &[&[], &[]]);
    let sql = row("both_task", "102", "ada", 1, "f4", "no");
    assert_heard(db, &mut to, &sql, &[&["both_task"], &[]]);
    // Of the way by firm and team one half each.
    let sql = [
        row("any_task", "'k100', 1", "eve", 4, "f1", "blue"),
        row("any_task", "'k100', 2", "eve", 4, "f3", "red"),
    ];
    assert_heard(db, &mut to, &sql.join("; "), &[&[], &[]]);
    let sql = row("any_task", "'k100', 3", "eve", 4, "f1", "red");
    assert_heard(db, &mut to, &sql, &[&["any_task"], &[]]);
    // By either of two other ways.
    let sql = row("any_task", "'k100', 4", "bob", 1, "f4", "no");
    assert_heard(db, &mut to, &sql, &[&["any_task"], &["any_task"]]);
}

/// Rows that go to nobody are nobody's news, and a value that is null is held by nobody.
pub fn p7_what_goes_to_nobody_is_no_news(db: &mut dyn Database) {
    fill(db);
    let mut to = listening(db, &[of_team("ada", "red"), Caller::user("eve")]);
    let sql = "INSERT INTO event (words) VALUES ('x')";
    assert_heard(db, &mut to, sql, &[&[], &[]]);
    let sql = "INSERT INTO own_task VALUES (100, NULL, 1, 'f1', 'red', 'x'); \
               INSERT INTO team_task VALUES (100, 'ada', 1, 'f1', NULL, 'x')";
    assert_heard(db, &mut to, sql, &[&[], &[]]);
    // Whose claims say nothing holds nothing.
    let sql = "INSERT INTO team_task VALUES (101, 'eve', 1, 'f1', 'blue', 'x')";
    assert_heard(db, &mut to, sql, &[&[], &[]]);
}

/// So many marks under so many values in one look that they are not told apart any more: who has
/// the entity hears of it, and nobody misses anything.
pub fn p9_a_bulk_of_writes_is_one_piece_of_news(db: &mut dyn Database) {
    fill(db);
    let mut to = listening(db, &[of_team("ada", "red"), of_team("bob", "blue")]);
    let rows = |entity: &str, owner: &str, region: u32| {
        let row = |id: u32| format!("({id}, '{owner}', {region}, NULL, NULL, 'x')");
        let rows: Vec<String> = (1_000..6_000).map(row).collect();
        format!("INSERT INTO {entity} VALUES {}", rows.join(", "))
    };
    let own = rows("own_task", "ada", 1);
    assert_heard(db, &mut to, &own, &[&["own_task"], &[]]);
    let both = rows("both_task", "ada", 1);
    db.execute(&both);
    let heard = to.look(db.storage());
    assert_eq!(heard.first(), Some(&super::news(&["both_task"])));
}
