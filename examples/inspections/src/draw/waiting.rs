//! What waits for the server or for the user: the list of changes, and a conflict.

use afield::DecidedWhat;
use afield::protocol::{Op, Value};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Wrap};

use super::{STRONG, marked, show, table};
use crate::app::{App, Waiting, word};
use crate::conflict::Decision;

/// What to do about a refused change.
const REMEDY: &str = "Press r to correct it and send it again, or d to give it up.";

pub(super) fn changes(frame: &mut Frame<'_>, area: Rect, app: &App, at: usize) {
    let title = format!(" Changes that are not settled ({}) ", app.waiting().count());
    if app.changes.is_empty() {
        let block = Block::bordered().title(title).title_style(STRONG);
        let text = "Nothing waits: everything you wrote is on the server.";
        return frame.render_widget(Paragraph::new(text).block(block), area);
    }
    let [top, below] = Layout::vertical([Constraint::Min(4), Constraint::Length(5)]).areas(area);
    let widths = [
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let lines = app.changes.iter().map(|Waiting { info, name }| {
        let is_conflict = app.conflicts.iter().any(|it| it.conflict == info.change);
        let cells = [
            op(info.op).to_owned(),
            info.entity.clone(),
            name.clone(),
            values(info.set.iter()),
        ];
        let state = marked(word(info.state, is_conflict));
        Row::new(std::iter::once(state).chain(cells.into_iter().map(Cell::from)))
    });
    let table = table(
        title,
        &["state", "what", "entity", "row", "values"],
        &widths,
    );
    show(frame, top, table.rows(lines.collect::<Vec<_>>()), Some(at));
    let why = app
        .changes
        .get(at)
        .map_or_else(String::new, |waiting| reason(app, waiting));
    let block = Block::bordered().title(" Why ").title_style(STRONG);
    frame.render_widget(
        Paragraph::new(why).wrap(Wrap { trim: true }).block(block),
        below,
    );
}

fn reason(app: &App, Waiting { info, .. }: &Waiting) -> String {
    if let Some(decided) = &info.decided {
        let what = match decided.what {
            DecidedWhat::Applied => "It was applied.",
            DecidedWhat::Dropped => "It was dropped; what you typed stays in the history.",
            DecidedWhat::Kept => "You have made more of it: decide yourself.",
            DecidedWhat::Late => "You had decided before.",
        };
        return format!("{} decided about it at the desk. {what}", decided.by);
    }
    if app.conflicts.iter().any(|it| it.conflict == info.change) {
        return "Somebody else changed the same row. Enter shows both versions; yours stays until \
                you decide."
            .to_owned();
    }
    let code = info
        .code
        .as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    match (&info.message, &info.waits_for) {
        (_, Some(change)) => {
            let other = app.changes.iter().find(|it| it.info.change == *change);
            let other = other.map_or(change.as_str(), |it| it.name.as_str());
            format!("Waits for another change to be decided: {other}{code}")
        }
        (Some(message), None) => format!("The server says: {message}{code}. {REMEDY}"),
        (None, None) if code.is_empty() => {
            "Goes to the server with the next sync. Until then u takes it back.".to_owned()
        }
        (None, None) => format!("Refused{code}. {REMEDY}"),
    }
}

fn op(op: Op) -> &'static str {
    match op {
        Op::Create => "create",
        Op::Update => "update",
        Op::Delete => "delete",
    }
}

fn values<'a>(set: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    let shown = set.map(|(name, value)| format!("{name}: {value}"));
    shown.collect::<Vec<_>>().join(", ")
}

pub(super) fn conflict(frame: &mut Frame<'_>, area: Rect, decision: &Decision) {
    let [top, below] = Layout::vertical([Constraint::Min(4), Constraint::Length(8)]).areas(area);
    let (entity, name) = (&decision.info.entity, &decision.name);
    let title = format!(" Two versions: {entity} {name} ");
    let rest = Constraint::Fill(1);
    let widths = [Constraint::Length(14), rest, rest, rest];
    let lines = decision.picks.iter().map(|(name, mine)| {
        let [base, mine_value, theirs] = decision.values(name);
        let picked = |text: String, is: bool| match is && decision.can_merge() {
            true => Cell::from(format!("● {text}")).style(STRONG.fg(Color::Green)),
            false => Cell::from(format!("  {text}")),
        };
        let name = Cell::from(name.clone());
        Row::new([
            name,
            Cell::from(base),
            picked(mine_value, *mine),
            picked(theirs, !*mine),
        ])
    });
    let table = table(
        title,
        &["attribute", "before", "  mine", "  theirs"],
        &widths,
    );
    show(
        frame,
        top,
        table.rows(lines.collect::<Vec<_>>()),
        Some(decision.at),
    );
    let Some((name, _)) = decision.picks.get(decision.at) else {
        return;
    };
    let whole = ["before", "mine", "theirs"]
        .into_iter()
        .zip(decision.values(name));
    let whole = whole.map(|(who, value)| Line::from(format!("{who:>6}  {value}")));
    let block = Block::bordered()
        .title(format!(" {name} "))
        .title_style(STRONG);
    let text = Paragraph::new(whole.collect::<Vec<_>>()).wrap(Wrap { trim: false });
    frame.render_widget(text.block(block), below);
}
