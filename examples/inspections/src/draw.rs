//! Draws the app: a title, the page, a line on where everything stands, and the keys.

use afield::protocol::{Op, Value};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap};

use crate::app::{App, Network, Waiting, counted, word};
use crate::conflict::Decision;
use crate::form::{Form, Target};
use crate::model::{Business, Inspection, Violation};
use crate::pages::Page;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const PICKED: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let lengths = [
        Constraint::Min(5),
        Constraint::Length(1),
        Constraint::Length(1),
    ];
    let [body, status, keys] =
        Layout::vertical([lengths[0], lengths[1], lengths[2]]).areas(frame.area());
    match app.pages.last() {
        Some(Page::Businesses {
            search,
            typing,
            rows,
            at,
        }) => {
            businesses(frame, body, app, (search, *typing), rows, *at);
        }
        Some(Page::Business { row, rows, at }) => business(frame, body, app, row, rows, *at),
        Some(Page::Inspection {
            row,
            inspector,
            rows,
        }) => {
            inspection(frame, body, app, row, inspector, rows);
        }
        Some(Page::Changes { at }) => changes(frame, body, app, *at),
        Some(Page::Conflict(decision)) => conflict(frame, body, decision),
        Some(Page::Form(form)) => draw_form(frame, body, form),
        None => {}
    }
    frame.render_widget(status_line(app), status);
    frame.render_widget(Line::from(help(app)).style(QUIET), keys);
}

/// Where everything stands; a note takes its place until the next key.
fn status_line(app: &App) -> Line<'static> {
    let (note, is_trouble) = &app.note;
    let color = if *is_trouble {
        Color::Red
    } else {
        Color::Green
    };
    let mut parts = vec![Span::styled(format!(" {} ", app.client.user()), PICKED)];
    let status = &app.status;
    let network = match app.network {
        _ if app.syncing => "synchronising…",
        Network::Unknown => "network unknown",
        Network::Reachable => "server reachable",
        Network::Unreachable => "no network",
        Network::Off => "working offline",
    };
    let synced = match status.last_success_ms {
        None => "never synchronised".to_owned(),
        Some(at) => format!("synchronised {}", ago(app.now_ms - at)),
    };
    let text = format!(
        " {} pending · {} held · {} refused · {} · {synced} · {network} ",
        status.pending,
        status.held,
        status.parked.saturating_sub(status.conflicts),
        counted(status.conflicts, "conflict"),
    );
    parts.push(Span::styled(
        text,
        if status.parked > 0 {
            STRONG.fg(Color::Yellow)
        } else {
            STRONG
        },
    ));
    if !status.downloading.is_empty() {
        parts.push(Span::raw("downloading… "));
    }
    if !note.is_empty() {
        parts.push(Span::styled(format!("· {note}"), Style::new().fg(color)));
    }
    Line::from(parts)
}

fn ago(ms: i64) -> String {
    match ms.max(0) / 1_000 {
        0..2 => "just now".to_owned(),
        s @ 2..120 => format!("{s} s ago"),
        s @ 120..7_200 => format!("{} min ago", s / 60),
        s => format!("{} h ago", s / 3_600),
    }
}

fn help(app: &App) -> &'static str {
    match app.pages.last() {
        Some(Page::Businesses { typing: true, .. }) => {
            " type to search · Enter done · Esc show all"
        }
        Some(Page::Businesses { .. }) => {
            " ↑↓ move · Enter open · / search · c changes · s sync · o on/offline · q quit"
        }
        Some(Page::Business { .. }) => {
            " ↑↓ move · Enter open inspection · n new inspection · e edit · Esc back · c changes · s sync"
        }
        Some(Page::Inspection { .. }) => {
            " e edit · v add violation · Esc back · c changes · s sync · o on/offline"
        }
        Some(Page::Changes { .. }) => {
            " ↑↓ move · Enter decide a conflict · r send again · d give up · Esc back · s sync"
        }
        Some(Page::Conflict(decision)) if decision.can_merge() => {
            " ↑↓ move · ← mine → theirs · Enter save this mix · m keep all mine · t take all theirs · Esc later"
        }
        Some(Page::Conflict(_)) => " m keep mine · t take theirs · Esc later",
        Some(Page::Form(Form {
            target: Target::Plan(_),
            ..
        })) => " ↑↓ move · ←→ choose · Ctrl-A add a violation · Enter save · Esc cancel",
        Some(Page::Form(_)) => " ↑↓ move · type, or ←→ choose · Enter save · Esc cancel",
        None => "",
    }
}

fn table<'a>(title: String, head: &[&'static str], widths: &[Constraint]) -> Table<'a> {
    Table::new(Vec::<Row<'_>>::new(), widths.to_vec())
        .header(Row::new(head.to_vec()).style(QUIET))
        .block(Block::bordered().title(title).title_style(STRONG))
        .row_highlight_style(PICKED)
        .column_spacing(2)
}

fn show(frame: &mut Frame<'_>, area: Rect, table: Table<'_>, at: Option<usize>) {
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
}

fn marked(mark: &'static str) -> Cell<'static> {
    let color = match mark {
        "conflict" | "refused" => Color::Red,
        "held" => Color::Yellow,
        _ => Color::Cyan,
    };
    Cell::from(mark).style(Style::new().fg(color))
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_else(|| "–".to_owned())
}

fn businesses(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    (search, typing): (&str, bool),
    rows: &[Business],
    at: usize,
) {
    let title = match (search, typing) {
        (search, true) => format!(" Search: {search}▏"),
        ("", false) => " Businesses ".to_owned(),
        (search, false) => format!(" Businesses with \"{search}\" "),
    };
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(3),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(8),
    ];
    let lines = rows.iter().map(|row| {
        let seats = row
            .seats
            .map_or_else(|| "–".to_owned(), |seats| seats.to_string());
        let name = match row.is_open {
            Some(false) => format!("{} (closed)", text(row.name.as_ref())),
            _ => text(row.name.as_ref()),
        };
        let cells = [
            name,
            text(row.street.as_ref()),
            text(row.district.as_ref()),
            seats,
        ];
        let mark = app.mark("business", &[row.id.as_str().into()]);
        Row::new(cells.into_iter().map(Cell::from).chain([marked(mark)]))
    });
    let table = table(
        title,
        &["name", "street", "district", "seats", "state"],
        &widths,
    );
    show(frame, area, table.rows(lines.collect::<Vec<_>>()), Some(at));
}

fn business(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    row: &Business,
    rows: &[Inspection],
    at: usize,
) {
    let [top, below] = Layout::vertical([Constraint::Length(5), Constraint::Min(3)]).areas(area);
    let seats = row
        .seats
        .map_or_else(|| "–".to_owned(), |seats| seats.to_string());
    let facts = vec![
        Line::from(format!(
            "{}, {}",
            text(row.street.as_ref()),
            text(row.city.as_ref())
        )),
        Line::from(format!(
            "{} in district {}, {seats} seats, licensed {}",
            text(row.kind.as_ref()),
            text(row.district.as_ref()),
            text(row.licensed_on.as_ref())
        )),
        Line::from(app.mark("business", &[row.id.as_str().into()])),
    ];
    let block = Block::bordered()
        .title(format!(" {} ", text(row.name.as_ref())))
        .title_style(STRONG);
    frame.render_widget(Paragraph::new(facts).block(block), top);
    let widths = [
        Constraint::Length(11),
        Constraint::Length(10),
        Constraint::Length(21),
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Length(8),
    ];
    let lines = rows.iter().map(|row| {
        let score = row
            .score
            .map_or_else(|| "–".to_owned(), |score| score.to_string());
        let cells = [
            text(row.planned_for.as_ref()),
            text(row.kind.as_ref()),
            text(row.result.as_ref()),
            score,
            text(row.notes.as_ref()),
        ];
        let mark = app.mark("inspection", &[row.id.as_str().into()]);
        Row::new(cells.into_iter().map(Cell::from).chain([marked(mark)]))
    });
    let head = ["planned", "kind", "result", "score", "notes", "state"];
    let table = table(format!(" Inspections ({}) ", rows.len()), &head, &widths);
    show(
        frame,
        below,
        table.rows(lines.collect::<Vec<_>>()),
        Some(at),
    );
}

fn inspection(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    row: &Inspection,
    inspector: &str,
    rows: &[Violation],
) {
    let [top, below] = Layout::vertical([Constraint::Length(7), Constraint::Min(3)]).areas(area);
    let score = row
        .score
        .map_or_else(|| "–".to_owned(), |score| score.to_string());
    let facts = vec![
        Line::from(format!(
            "{}, planned for {}",
            text(row.kind.as_ref()),
            text(row.planned_for.as_ref())
        )),
        Line::from(format!("inspector: {inspector}")),
        Line::from(format!(
            "result: {}, score {score}",
            text(row.result.as_ref())
        )),
        Line::from(format!("notes: {}", text(row.notes.as_ref()))),
        Line::from(marked_text(
            app.mark("inspection", &[row.id.as_str().into()]),
        )),
    ];
    let block = Block::bordered().title(" Inspection ").title_style(STRONG);
    frame.render_widget(Paragraph::new(facts).block(block), top);
    let widths = [
        Constraint::Length(3),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(8),
    ];
    let lines = rows.iter().map(|row| {
        let fixed = row
            .fixed
            .map_or("–", |fixed| if fixed { "yes" } else { "no" });
        let cells = [
            row.number.to_string(),
            text(row.code.as_ref()),
            text(row.severity.as_ref()),
            text(row.comment.as_ref()),
            fixed.to_owned(),
        ];
        let key = [
            Value::from(row.inspection_id.as_str()),
            Value::from(row.number),
        ];
        Row::new(
            cells
                .into_iter()
                .map(Cell::from)
                .chain([marked(app.mark("violation", &key))]),
        )
    });
    let head = ["no", "code", "severity", "comment", "fixed", "state"];
    let table = table(format!(" Violations ({}) ", rows.len()), &head, &widths);
    show(frame, below, table.rows(lines.collect::<Vec<_>>()), None);
}

fn marked_text(mark: &str) -> String {
    if mark.is_empty() {
        String::new()
    } else {
        format!("its change: {mark}")
    }
}

fn changes(frame: &mut Frame<'_>, area: Rect, app: &App, at: usize) {
    let title = format!(" Changes that are not settled ({}) ", app.changes.len());
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
        (Some(message), None) => format!("The server says: {message}{code}"),
        (None, None) if code.is_empty() => "Goes to the server with the next sync.".to_owned(),
        (None, None) => format!("Refused{code}"),
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

fn conflict(frame: &mut Frame<'_>, area: Rect, decision: &Decision) {
    let title = format!(" Two versions of a row of {} ", decision.info.entity);
    let widths = [
        Constraint::Length(14),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let lines = decision.picks.iter().map(|(name, mine)| {
        let [base, mine_value, theirs] = decision.values(name);
        let picked = |text: String, is: bool| match is && decision.can_merge() {
            true => Cell::from(format!("● {text}")).style(STRONG.fg(Color::Green)),
            false => Cell::from(format!("  {text}")),
        };
        Row::new([
            Cell::from(name.clone()),
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
        area,
        table.rows(lines.collect::<Vec<_>>()),
        Some(decision.at),
    );
}

fn draw_form(frame: &mut Frame<'_>, area: Rect, form: &Form) {
    let lines = form.lines.iter().enumerate().map(|(at, line)| {
        let is_here = at == form.at;
        let shown = match (line.choices.is_empty(), is_here) {
            (true, true) => format!("{}▏", line.text),
            (false, true) => format!("‹ {} ›", line.text),
            _ => line.text.clone(),
        };
        let style = if is_here {
            STRONG.fg(Color::Cyan)
        } else {
            Style::new()
        };
        let label = Span::styled(format!("{:>16}  ", line.label), QUIET);
        Line::from(vec![label, Span::styled(shown, style)])
    });
    let block = Block::bordered()
        .title(format!(" {} ", form.title))
        .title_style(STRONG);
    let text = Paragraph::new(lines.collect::<Vec<_>>()).block(block);
    frame.render_widget(text.wrap(Wrap { trim: false }), area);
}
