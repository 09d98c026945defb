//! Worlds that once broke a promise, as their shortest lists of actions: they do not depend on
//! what seeds make today.

use crate::action::{Action, By, Decision, Edit, OrderEdit, OrderWhat, Step, Way, What};
use crate::app::{self, Kinds};
use crate::generate::Plan;
use crate::team::{Held, TeamEdit};
use crate::worlds::play;

fn edit(what: What, entity: usize, row: u32, n: u32) -> Edit {
    Edit {
        entity,
        what,
        row,
        attribute: 0,
        n,
    }
}

fn app(device: usize, edits: &[Edit]) -> Action {
    let edits = edits.to_vec();
    Action::User { device, edits }
}

fn order(what: OrderWhat, row: u32, n: u32) -> OrderEdit {
    OrderEdit {
        what,
        row,
        n,
        by_action: false,
        old_id: false,
    }
}

fn orders(by: By, edits: &[OrderEdit]) -> Action {
    let edits = edits.to_vec();
    Action::Orders { by, edits }
}

fn foreign(edits: &[Edit]) -> Action {
    let edits = edits.to_vec();
    Action::Foreign { edits }
}

fn start(device: usize, lane: usize, way: Way) -> Action {
    Action::Start {
        device,
        lane,
        unit: None,
        way,
    }
}

fn step(device: usize, lane: usize, step: Step) -> Action {
    Action::Step { device, lane, step }
}

fn go(device: usize, lane: usize) -> Action {
    step(device, lane, Step::Go)
}

fn plan(devices: usize, actions: Vec<Action>) -> Plan {
    Plan {
        seed: 1,
        devices,
        users: [0, 1, 2],
        is_scoped: false,
        kinds: Kinds::default(),
        has_old_model: false,
        model_installed: true,
        page_rows: 100,
        actions,
    }
}

#[track_caller]
fn kept(devices: usize, actions: Vec<Action>) {
    keeps(&plan(devices, actions));
}

#[track_caller]
fn keeps(plan: &Plan) {
    let ended = play(plan, None, true);
    if let Some((step, violation)) = ended.violation {
        panic!("step {step}: {violation}\n{}", ended.trace.join("\n"));
    }
}

/// Two syncs of one file sent the same group; the one that heard of its refusal second called
/// itself completed.
#[test]
fn p6_a_sync_whose_group_another_sync_settled_is_not_completed() {
    kept(
        1,
        vec![
            Action::Sync { device: 0 },
            app(0, &[edit(What::Refused, app::VISIT, 0, 1_000)]),
            start(0, 0, Way::Both),
            go(0, 0),
            start(0, 1, Way::Both),
            step(0, 1, Step::Cut(255)),
            go(0, 1),
            go(0, 1),
            go(0, 1),
            go(0, 1),
        ],
    );
}

/// A request that was numbered later was handled earlier: its rows do not contain what the other
/// one settled meanwhile.
#[test]
fn p3_an_edit_stays_when_older_rows_arrive_behind_its_outcome() {
    kept(
        1,
        vec![
            Action::Sync { device: 0 },
            app(0, &[edit(What::Update, app::SITE, 2, 1_000)]),
            start(0, 0, Way::Send),
            start(0, 1, Way::Receive),
            go(0, 1),
            go(0, 1),
            go(0, 0),
            go(0, 0),
            go(0, 1),
        ],
    );
}

/// A pull said that a row is gone; then the edit of it was refused for another change of its
/// group, and the row stayed visible for ever.
#[test]
fn p5_a_gone_row_does_not_stay_when_its_group_is_refused() {
    kept(
        1,
        vec![
            Action::Sync { device: 0 },
            foreign(&[edit(What::Rekey, app::VISIT, 3, 1_022)]),
            app(
                0,
                &[
                    edit(What::Update, app::READING, 0, 1_038),
                    edit(What::Poison, app::VISIT, 3, 1_041),
                ],
            ),
            start(0, 1, Way::Receive),
            foreign(&[edit(What::Delete, app::READING, 0, 1_043)]),
        ],
    );
}

/// The server said that a row is gone and was then set back to a copy in which it is there: no
/// pull brought it again.
#[test]
fn p5_a_row_that_was_gone_in_a_lost_history_stays() {
    kept(
        1,
        vec![
            Action::Sync { device: 0 },
            app(0, &[edit(What::Update, app::SITE, 5, 1_000)]),
            Action::Backup,
            foreign(&[edit(What::Delete, app::SITE, 5, 1_001)]),
            start(0, 0, Way::Both),
            go(0, 0),
            Action::Restore,
        ],
    );
}

/// The same without a restore: the row came back, another sync brought it, and then the answer
/// that had called it gone was repeated.
#[test]
fn p5_a_row_that_came_back_is_not_taken_by_an_old_answer() {
    kept(
        1,
        vec![
            Action::Sync { device: 0 },
            app(0, &[edit(What::Update, app::SITE, 5, 1_000)]),
            foreign(&[edit(What::Delete, app::SITE, 5, 1_001)]),
            start(0, 0, Way::Both),
            step(0, 0, Step::LoseAnswer),
            foreign(&[edit(What::Create, app::SITE, 6, 1_002)]),
            start(0, 1, Way::Receive),
            go(0, 1),
            go(0, 1),
            go(0, 1),
            go(0, 1),
            go(0, 1),
            go(0, 1),
        ],
    );
}

/// A download began before the copy of the server's file was made and read rows after that; the
/// position named only its beginning, so it went on after the restore.
#[test]
fn p4_a_download_that_read_rows_of_a_lost_history_starts_over() {
    let plan = Plan {
        page_rows: 2,
        ..plan(
            1,
            vec![
                start(0, 0, Way::Both),
                go(0, 0),
                go(0, 0),
                step(0, 0, Step::Read(100_000)),
                Action::Backup,
                foreign(&[edit(What::Replace, app::ACCOUNT, 2, 1_012)]),
                foreign(&[edit(What::Replace, app::SITE, 2, 1_012)]),
                go(0, 0),
                go(0, 0),
                go(0, 0),
                go(0, 0),
                go(0, 0),
                go(0, 0),
                step(0, 0, Step::Cut(255)),
                Action::Restore,
            ],
        )
    };
    keeps(&plan);
}

/// The outcome of a refused create arrived and that of a later change of its line did not: that
/// one was neither sent again nor given up with the create.
#[test]
fn p8_a_refused_create_is_given_up_though_what_depends_on_it_was_sent() {
    kept(
        1,
        vec![
            start(0, 0, Way::Both),
            orders(
                By::App(0),
                &[
                    order(OrderWhat::Order, 22, 1_006),
                    order(OrderWhat::Bad, 4_294_967_293, 1_007),
                    order(OrderWhat::Line, 4_294_967_292, 1_010),
                ],
            ),
            step(0, 0, Step::LoseAnswer),
            orders(
                By::OtherProcess(0),
                &[order(OrderWhat::Set, 4_294_967_293, 1_011)],
            ),
            go(0, 0),
            step(0, 0, Step::Cut(9)),
            step(0, 0, Step::Cut(20)),
            Action::Sync { device: 0 },
        ],
    );
}

/// The server had made an order, a pull brought it before its outcome, and the team deleted it: a
/// line of it refers to what is gone, while the user's own order still waits for its outcome.
#[test]
fn p4_a_line_of_an_order_that_was_deleted_before_its_outcome_came() {
    let by_action = |what, row, n| OrderEdit {
        by_action: true,
        ..order(what, row, n)
    };
    kept(
        1,
        vec![
            orders(By::App(0), &[by_action(OrderWhat::Order, 8, 1_036)]),
            start(0, 0, Way::Both),
            step(0, 0, Step::LoseAnswer),
            Action::Sync { device: 0 },
            orders(By::Foreign, &[order(OrderWhat::Delete, 6, 1_044)]),
            orders(
                By::OtherProcess(0),
                &[by_action(OrderWhat::Line, 4_294_967_294, 1_046)],
            ),
            Action::Sync { device: 0 },
        ],
    );
}

/// The outcome `gone` came before the pull that took the line, and its user sent the edit again in
/// between: the pull left a row of what he had typed and nothing else.
#[test]
fn p4_an_edit_that_is_sent_again_makes_no_row_of_what_was_typed() {
    kept(
        1,
        vec![
            orders(By::Foreign, &[order(OrderWhat::Line, 4, 1_017)]),
            Action::Sync { device: 0 },
            orders(By::App(0), &[order(OrderWhat::Set, 13, 1_024)]),
            orders(By::Foreign, &[order(OrderWhat::Delete, 13, 1_035)]),
            start(0, 0, Way::Send),
            start(0, 1, Way::Both),
            go(0, 0),
            go(0, 0),
            Action::Decide {
                device: 0,
                pick: 3,
                decision: Decision::Merged,
                n: 1_048,
            },
        ],
    );
}

#[test]
fn a_world_happens_the_same_way_every_time() {
    for seed in 0..20 {
        let plan = Plan::new(seed);
        let (first, second) = (play(&plan, None, true), play(&plan, None, true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.tally, second.tally, "seed {seed}");
    }
}

fn team(edits: &[TeamEdit]) -> Action {
    let edits = edits.to_vec();
    Action::Team { edits }
}

/// A row was edited and deleted on the device, and made again under its identifier, which the
/// server refused: what had been edited before kept the row as it was.
#[test]
fn p7_a_row_made_again_does_not_keep_what_the_former_one_was() {
    let made = TeamEdit::Task {
        n: 1_017,
        shop: 1,
        team: 1,
        owner: None,
    };
    let moved = |shop, district| TeamEdit::Move { shop, district };
    let at = |attribute, edit: Edit| Edit { attribute, ..edit };
    let plan = Plan {
        is_scoped: true,
        ..plan(
            1,
            vec![
                team(&[made, moved(1, 1)]),
                Action::Sync { device: 0 },
                Action::OtherProcess {
                    device: 0,
                    edits: vec![
                        edit(What::Delete, app::TASK, 8, 1_026),
                        at(5, edit(What::Update, app::TASK, 10, 1_027)),
                    ],
                },
                app(0, &[edit(What::Delete, app::TASK, 1, 1_031)]),
                app(
                    0,
                    &[
                        at(7, edit(What::Create, app::TASK, 4, 1_034)),
                        at(3, edit(What::Update, app::SHOP, 11, 1_035)),
                    ],
                ),
                team(&[moved(5, 0)]),
            ],
        )
    };
    keeps(&plan);
}

/// A group was refused, its user lost the row and got it back: what he wrote later does not wait
/// for what had been about the row before. The oracle had thought so.
#[test]
fn p8_what_was_refused_of_a_row_that_left_holds_nothing_back() {
    let moved = |shop, district| team(&[TeamEdit::Move { shop, district }]);
    let grant = |is_held| {
        let (user, what, value) = (0, Held::District, 2);
        team(&[TeamEdit::Grant {
            user,
            what,
            value,
            is_held,
        }])
    };
    let at = |attribute, edit: Edit| Edit { attribute, ..edit };
    let sync = || Action::Sync { device: 0 };
    let edits = vec![
        at(1, edit(What::Replace, app::TASK, 6, 1_009)),
        at(1, edit(What::Update, app::SHOP, 7, 1_010)),
    ];
    let actions = vec![
        sync(),
        moved(6, 3),
        grant(true),
        moved(3, 2),
        Action::OtherProcess { device: 0, edits },
        sync(),
        start(0, 0, Way::Both),
        grant(false),
        go(0, 0),
        go(0, 0),
        grant(true),
        sync(),
        app(0, &[at(7, edit(What::Replace, app::SHOP, 1, 1_034))]),
    ];
    let plan = Plan {
        is_scoped: true,
        ..plan(1, actions)
    };
    keeps(&plan);
}
