//! What a pull brings by what is chosen.

use afield_protocol::Value;

use super::super::Database;
use super::{ALL, ChoosingDevice};

/// Nothing chosen, nothing there; what is chosen comes if it is allowed, with all that its path
/// leads to.
pub fn p7_only_what_is_chosen_and_allowed_comes(db: &mut dyn Database) {
    let mut ada = ChoosingDevice::of("ada");
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.delivered, 0);
    assert_eq!(ada.told, 1, "her own name, which is the owner of sheets");
    ada.choose(&[1, 4, 5, 99]);
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [10, 11]);
    assert_eq!(ada.ids("remark"), [1]);
    assert_eq!(ada.ids("sheet"), [1]);
    assert_eq!(ada.ids("plan"), [0; 0]);
    let before = ada.delivered;
    ada.choose(&[2, 1]);
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [10, 11, 20]);
    assert_eq!(
        ada.delivered - before,
        3,
        "what was there does not come again"
    );
    assert_eq!(ada.resets, 0);
}

/// A choice that ends takes its rows along, without a row being named.
pub fn p7_chosen_rows_leave_with_the_choice(db: &mut dyn Database) {
    let mut ada = ChoosingDevice::of("ada").choosing(&[1, 2, 3]);
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [10, 11, 20, 30]);
    let before = ada.delivered;
    ada.choose(&[3]);
    // Written while it was chosen, and told of no more.
    db.execute("UPDATE visit SET words = 'news' WHERE id = 10; DELETE FROM visit WHERE id = 11");
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [30]);
    assert_eq!(ada.ids("remark"), [3]);
    assert_eq!(ada.delivered, before, "nothing is sent of what left");
    ada.choose(&[1, 3]);
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [10, 30]);
}

/// What is chosen is asked anew in every pull.
pub fn p7_a_right_that_ends_takes_its_rows_and_one_that_begins_brings_them(db: &mut dyn Database) {
    let mut ada = ChoosingDevice::of("ada").choosing(&[1, 2, 4]);
    ada.pull(db, &ALL, 100);
    db.execute("DELETE FROM project_member WHERE user_id = 'ada' AND project_id = 1");
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [20]);
    db.execute("INSERT INTO project_member VALUES ('ada', 4), ('ada', 1)");
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [10, 11, 20, 40]);
    // A parent that moves takes its rows along, into what is chosen and out of it.
    db.execute("UPDATE visit SET project_id = 3 WHERE id = 10");
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("remark"), [2, 4]);
}

/// Each page goes by what its own request chooses: a choice may change in the middle of a scan.
pub fn p5_choices_change_between_pages(db: &mut dyn Database) {
    for rows in 1..4 {
        for at in 0..6 {
            let mut ada = ChoosingDevice::of("ada").choosing(&[1, 2]);
            for _ in 0..at {
                ada.page(db, &ALL, rows);
            }
            ada.choose(&[2, 3]);
            ada.page(db, &ALL, rows);
            ada.choose(&[1, 3]);
            ada.pull(db, &ALL, rows);
            assert_eq!(ada.ids("visit"), [10, 11, 30]);
            ada.choose(&[]);
            ada.pull(db, &ALL, rows);
            assert_eq!(ada.ids("visit"), [0; 0]);
        }
    }
}

/// Two devices of one user, and one of another's, choose in turn: what the server remembers of
/// one is nothing to the other.
pub fn p5_devices_of_one_user_choose_apart(db: &mut dyn Database) {
    let mut phone = ChoosingDevice::of("ada").choosing(&[1]);
    let mut tablet = ChoosingDevice::of("ada").choosing(&[2, 3]);
    let mut eve = ChoosingDevice::of("eve").choosing(&[1, 3, 4]);
    for round in 0..6 {
        for device in [&mut phone, &mut tablet, &mut eve] {
            device.pull(db, &ALL, 2);
        }
        db.execute(&format!("UPDATE visit SET words = 'round {round}'"));
        phone.choose(if round % 2 == 0 { &[2, 3] } else { &[1, 3] });
        tablet.choose(if round % 3 == 0 { &[1] } else { &[2] });
        eve.choose(if round % 2 == 0 { &[4] } else { &[3, 1] });
        if round == 3 {
            db.restart();
        }
    }
    assert_eq!(phone.resets + tablet.resets + eve.resets, 0);
}

/// A read-only entity starts over when its choice changes, and only then.
pub fn read_only_follows_the_choice(db: &mut dyn Database) {
    let place = |last: char| Value::from(format!("0190b3a1-5c1e-7cc3-98a1-00000000000{last}"));
    let mut ada = ChoosingDevice::of("ada");
    let choose = |ada: &mut ChoosingDevice, places: Vec<Value>| {
        ada.chosen.insert("places".into(), places);
        ada.pull(db, &["plan"], 10);
        ada.ids("plan")
    };
    assert_eq!(choose(&mut ada, vec![place('a'), place('b')]), [1]);
    let delivered = ada.delivered;
    assert_eq!(choose(&mut ada, vec![place('a')]), [1]);
    assert_eq!(ada.delivered, delivered, "the same is held");
    assert_eq!(choose(&mut ada, Vec::new()), [0; 0]);
}

/// The team stores UUIDs in capitals, without dashes and as bytes; a device knows one form.
pub fn values_are_compared_as_their_column_stores_them(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO place_member VALUES ('ada', '0190b3a15c1e7cc398a100000000000c'),
           ('ada', '0190b3a1-5c1e-7cc3-98a1-00000000000d');
         INSERT INTO plan VALUES (3, '0190b3a15c1e7cc398a100000000000c', 'no dashes'),
           (4, '0190b3a1-5c1e-7cc3-98a1-00000000000d', 'canonical'),
           (5, '0190B3A1-5C1E-7CC3-98A1-00000000000D', 'marker: only its other form is Ada''s')",
    );
    let all = ["a", "b", "c", "d"].map(|last| {
        let id = format!("0190b3a1-5c1e-7cc3-98a1-00000000000{last}");
        Value::from(id)
    });
    let mut ada = ChoosingDevice::of("ada");
    ada.chosen.insert("places".into(), all.to_vec());
    let page = db.storage().pull(db.model(), &ada.request(&["plan"], 100));
    let page = page.unwrap();
    let shown = format!("{:?}", page.frames);
    let rows = |frame: &afield_protocol::Frame| match frame {
        afield_protocol::Frame::Rows(block) => block.count,
        _ => 0,
    };
    // Where a column has no spellings, the last is Ada's too.
    let expected = if db.keeps_spellings() { 3 } else { 4 };
    let found = page.frames.iter().map(rows).sum::<usize>();
    assert_eq!(found, expected, "{shown}");
    // Projects are numbers: a text that looks like one is of another type.
    let mut ada = ChoosingDevice::of("ada");
    ada.chosen.insert(
        "projects".into(),
        vec!["1".into(), 1.0.into(), Value::Bytes(b"1".into()), 2.into()],
    );
    ada.pull(db, &ALL, 100);
    assert_eq!(ada.ids("visit"), [20]);
}

/// As many as one request may choose.
pub fn p5_hundreds_of_chosen_values(db: &mut dyn Database) {
    let members: Vec<String> = (1_000..1_500).map(|id| format!("('ada', {id})")).collect();
    let visits: Vec<String> = (0..20_000)
        .map(|at| format!("({}, {}, 'w')", at + 100, 1_000 + at % 2_000))
        .collect();
    db.execute(&format!(
        "INSERT INTO project_member VALUES {}",
        members.join(", ")
    ));
    db.execute(&format!("INSERT INTO visit VALUES {}", visits.join(", ")));
    let projects: Vec<i64> = (1_000..1_500).collect();
    let mut ada = ChoosingDevice::of("ada").choosing(&projects);
    ada.pull(db, &["visit"], 5_000);
    assert_eq!(ada.ids("visit").len(), 5_000);
    let (delivered, told) = (ada.delivered, ada.told);
    ada.pull(db, &["visit"], 5_000);
    assert_eq!((ada.delivered, ada.told), (delivered, told));
}
