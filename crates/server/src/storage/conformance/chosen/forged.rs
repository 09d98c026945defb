//! What a device could make up.

use afield_protocol::{Frame, Value};

use super::super::Database;
use super::{ALL, ChoosingDevice};

/// Whatever is chosen, nothing comes that the query does not allow, and nothing fails.
pub fn p7_forged_choices_bring_nothing(db: &mut dyn Database) {
    let forged: Vec<Value> = vec![
        4.into(),
        5.into(),
        Value::Null,
        i64::MAX.into(),
        i64::MIN.into(),
        4.0.into(),
        f64::NAN.into(),
        f64::INFINITY.into(),
        "4".into(),
        "".into(),
        "4 OR 1 = 1".into(),
        "4') OR ('' = '".into(),
        "(SELECT project_id FROM project_member)".into(),
        ":user".into(),
        "%".into(),
        "*".into(),
        "\0".into(),
        "x".repeat(100_000).into(),
        Value::Bytes(Vec::new()),
        Value::Bytes(vec![0xff; 1_000]),
        "0190b3a1-5c1e-7cc3-98a1-00000000000b".into(),
        "0190B3A1-5C1E-7CC3-98A1-00000000000A".into(),
    ];
    let mut ada = ChoosingDevice::of("ada");
    for scope in [
        "projects",
        "places",
        "regions",
        "",
        "project_member",
        "a'\"b",
    ] {
        ada.chosen.insert(scope.into(), forged.clone());
    }
    let entities = ["visit", "remark", "plan"];
    let page = (db.storage()).pull(db.model(), &ada.request(&entities, 100));
    let page = page.expect("what is made up is passed over");
    assert!(page.end.complete);
    let kinds = page.frames.len();
    assert_eq!(kinds, 2, "nothing but the page's frame: {:?}", page.frames);
}

/// A value that another may have, one that nobody may, and one that nothing has.
pub fn p7_foreign_and_missing_choices_are_answered_alike(db: &mut dyn Database) {
    let answers = [4, 5, 99].map(|project| {
        let mut ada = ChoosingDevice::of("ada").choosing(&[1, project]);
        ada.pull(db, &ALL, 100);
        // The same once more, with a position.
        let page = db.storage().pull(db.model(), &ada.request(&ALL, 100));
        let frames = page.unwrap().frames;
        let content = |frame: &Frame| !matches!(frame, Frame::Page(_) | Frame::PageEnd(_));
        let content: Vec<Frame> = frames.into_iter().filter(content).collect();
        (ada.delivered, ada.told, content)
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

/// `SELECT count(*)` always finds a row: what it says counts.
pub fn p7_an_answer_of_nought_or_null_is_no(db: &mut dyn Database) {
    for (query, expected) in [
        (
            "SELECT count(*) FROM project_member WHERE user_id = :user AND project_id = :value",
            3,
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM project_member WHERE user_id = :user \
             AND :value = project_id)",
            3,
        ),
        (
            "SELECT max(user_id) FROM project_member WHERE user_id = :user AND project_id = :value",
            3,
        ),
        (
            "SELECT ':value' FROM project_member WHERE user_id = :user /* :value */ \
          AND project_id = :value -- :value",
            3,
        ),
        ("SELECT 0 FROM project_member WHERE :value IS NOT NULL", 0),
        ("SELECT NULL WHERE :value <> :user UNION SELECT 0", 0),
        (
            "WITH mine (id) AS (SELECT project_id FROM project_member WHERE user_id = :user) \
          SELECT 'yes' FROM mine WHERE id = :value",
            3,
        ),
    ] {
        let mut model = db.model().clone();
        model.scopes[0].query = query.into();
        let ada = ChoosingDevice::of("ada").choosing(&[1, 2, 4, 5]);
        let page = db.storage().pull(&model, &ada.request(&["visit"], 100));
        let frames = page
            .unwrap_or_else(|error| panic!("{query}: {error}"))
            .frames;
        let count = |frame: &Frame| match frame {
            Frame::Rows(block) => block.count,
            _ => 0,
        };
        assert_eq!(frames.iter().map(count).sum::<usize>(), expected, "{query}");
    }
}
