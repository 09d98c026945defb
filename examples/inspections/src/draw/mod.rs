//! Draws the app: a title, the page, a line on where everything stands, and the keys.

mod waiting;

use afield::UnitStatus;
use afield::network::NetworkType;
use afield::protocol::Value;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap};

use crate::app::{App, counted};
use crate::form::{Form, Target};
use crate::model::{Business, Inspection, Violation};
use crate::pages::{BUSINESSES_MAX, Page};

/// Columns that the line of status, and that of keys, take at most.
const STATUS_WIDE: u16 = 100;
const HELP_WIDE: u16 = 102;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const PICKED: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    // A narrow terminal shows the same on two lines.
    let lines = |wide: u16| Constraint::Length(if frame.area().width < wide { 2 } else { 1 });
    let (one, status, keys) = (Constraint::Length(1), lines(STATUS_WIDE), lines(HELP_WIDE));
    let areas = Layout::vertical([Constraint::Min(5), one, status, keys]);
    let [body, note, status, keys] = areas.areas(frame.area());
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
        Some(Page::Changes { at }) => waiting::changes(frame, body, app, *at),
        Some(Page::Conflict(decision)) => waiting::conflict(frame, body, decision),
        Some(Page::Form(form)) => draw_form(frame, body, form),
        None => {}
    }
    let (text, is_trouble) = &app.note;
    let color = if *is_trouble {
        Color::Red
    } else {
        Color::Green
    };
    frame.render_widget(Line::from(format!(" {text}")).style(color), note);
    let wrapped = |line: Line<'static>| Paragraph::new(line).wrap(Wrap { trim: true });
    frame.render_widget(wrapped(status_line(app)), status);
    frame.render_widget(wrapped(Line::from(help(app)).style(QUIET)), keys);
}

/// Where everything stands.
fn status_line(app: &App) -> Line<'static> {
    let mut parts = vec![Span::styled(format!(" {} ", app.client.user()), PICKED)];
    let status = &app.status;
    let network = app.client.network();
    let network = match (network.info.kind, network.is_online) {
        _ if app.client.needs_sign_in() => "sign in: press l".to_owned(),
        _ if app.syncing => match &app.progress {
            Some(progress) => format!("synchronising, {progress}"),
            None => "synchronising…".to_owned(),
        },
        (NetworkType::None, _) => "working offline".to_owned(),
        (_, None) => "network unknown".to_owned(),
        (_, Some(true)) => "server reachable".to_owned(),
        (_, Some(false)) => match app.client.next_sync() {
            Some((after, _)) => format!("no network, next try in {} s", after.as_secs()),
            None => "no network".to_owned(),
        },
    };
    let is_up_to_date = |unit: &UnitStatus| unit.is_up_to_date(app.now_ms, status.freshness_ms);
    let synced = match status.last_success_ms {
        _ if !status.units.is_empty() && status.units.iter().all(is_up_to_date) => {
            "up to date".to_owned()
        }
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
            " ↑↓ move · Enter open · / search · c changes · s sync \
             · o on/offline · q quit"
        }
        Some(Page::Business { .. }) => {
            " ↑↓ move · Enter open inspection · n new inspection · e edit \
             · Esc back · c changes · s sync"
        }
        Some(Page::Inspection { .. }) => {
            " e edit · v add violation · Esc back · c changes · s sync · o on/offline"
        }
        Some(Page::Changes { .. }) => {
            " ↑↓ move · Enter decide a conflict · r correct and send again \
             · d give up · u take back · Esc back"
        }
        Some(Page::Conflict(decision)) if decision.can_merge() => {
            " ↑↓ move · ← mine → theirs · Enter save this mix · m keep all mine \
             · t take all theirs · Esc later"
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
        ("", false) => format!(" {} ", counted_rows(rows.len())),
        (search, false) => format!(" {} with \"{search}\" ", counted_rows(rows.len())),
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

fn counted_rows(rows: usize) -> String {
    match rows {
        1 => "1 business".to_owned(),
        rows if rows == BUSINESSES_MAX => format!("The first {rows} businesses"),
        rows => format!("{rows} businesses"),
    }
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
        Line::from(marked_text(app.mark("business", &[row.id.as_str().into()]))),
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
    match mark {
        "" => String::new(),
        "conflict" | "refused" => format!("{mark}: press c to decide"),
        mark => mark.to_owned(),
    }
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
