//! Lines of Rust as rustfmt lays them out with its defaults or `max_width = 100`.
//!
//! Only the shapes that the generator needs. Where a name makes a line that rustfmt has no good
//! answer for, the function says so by `#[rustfmt::skip]`.

/// Longest line.
const LINE_MAX: usize = 100;
/// Widest arguments of a call, and widest chain, on one line.
const CALL_MAX: usize = 60;
/// Widest fields of a struct literal on one line.
const LITERAL_MAX: usize = 18;

/// A function whose body is one struct literal; `fields` are `name: value` pairs.
pub(super) fn literal_function(head: &str, wrap: (&str, &str), fields: &[String]) -> String {
    let (open, close) = wrap;
    let is_odd = |field: &String| {
        let value = field.split_once(": ").map_or("", |(_, value)| value);
        !field.is_ascii() || field.len() + 13 > LINE_MAX || value.len() > CALL_MAX
    };
    let mut text = String::new();
    if fields.iter().any(is_odd) {
        text.push_str("    #[rustfmt::skip]\n");
    }
    text.push_str(&format!("    {head} {{\n"));
    let joined = fields.join(", ");
    if joined.len() <= LITERAL_MAX {
        text.push_str(&format!("        {open} {{ {joined} }}{close}\n"));
    } else {
        text.push_str(&format!("        {open} {{\n"));
        for field in fields {
            text.push_str(&format!("            {field},\n"));
        }
        text.push_str(&format!("        }}{close}\n"));
    }
    text.push_str("    }\n");
    text
}

/// A function whose body is a row of calls with two arguments.
pub(super) fn calls_function(head: &str, calls: &[(&str, String, String)]) -> String {
    if calls.is_empty() {
        return format!("    {head} {{}}\n");
    }
    let is_odd =
        |(_, first, _): &(&str, String, String)| !first.is_ascii() || first.len() + 13 > LINE_MAX;
    let mut text = String::new();
    if calls.iter().any(is_odd) {
        text.push_str("    #[rustfmt::skip]\n");
    }
    text.push_str(&format!("    {head} {{\n"));
    for (call, first, second) in calls {
        let arguments = format!("{first}, {second}");
        if arguments.len() <= CALL_MAX && call.len() + arguments.len() + 11 <= LINE_MAX {
            text.push_str(&format!("        {call}({arguments});\n"));
        } else {
            text.push_str(&format!(
                "        {call}(\n            {first},\n            {second},\n        );\n"
            ));
        }
    }
    text.push_str("    }\n");
    text
}
