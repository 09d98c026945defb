//! Aligned tables for people.

/// Widest column but for the last, in characters; longer cells are cut with an ellipsis.
const WIDTH: usize = 40;

/// Lays out rows under their column names. Columns of numbers are set to the right.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let cut = |(at, cell): (usize, &String)| cut(cell, at + 1 == columns.len());
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().enumerate().map(cut).collect())
        .collect();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(columns.get(at).map_or(0, |name| name.chars().count()))
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let is_number = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let mut cells = cells.filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    };
    let numbers: Vec<bool> = (0..columns.len()).map(is_number).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(at, cell)| {
            let width = widths.get(at).copied().unwrap_or(0);
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            match numbers.get(at) {
                Some(true) => format!("{pad}{cell}"),
                _ => format!("{cell}{pad}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let header: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let mut lines = vec![line(&header), rule.join("  ")];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

fn cut(cell: &str, is_last: bool) -> String {
    let cell: String = cell
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if is_last || cell.chars().count() <= WIDTH {
        return cell;
    }
    let mut short: String = cell.chars().take(WIDTH - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["1", "Ä"], ["12", "long\nname"]].map(|row| row.map(str::to_owned).into());
        let text = table(&["n", "name"], &rows);
        assert_eq!(text, " n  name\n──  ─────────\n 1  Ä\n12  long name");
    }

    #[test]
    fn long_cells_are_cut() {
        let text = table(&["x", "z"], &[vec!["y".repeat(100), String::new()]]);
        let last = text.lines().last().unwrap();
        assert!(
            last.ends_with('…') && last.chars().count() == WIDTH,
            "{text}"
        );
    }
}
