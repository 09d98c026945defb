//! `docs/errors.md`: the glossary of codes, generated.

use std::fmt::Write as _;

use afield_protocol::Code;

use crate::bless;

const HEAD: &str = "# Error codes

One vocabulary from the database to the phone: the same word stands in a problem document of the
server, in the outcome of a change, in an error of the library and in what the command line prints.
Programs decide by the code; the message beside it is for people and may change. A word never
changes its meaning; a code that a version does not know is kept and shown as it came.

| code | what it means | what to do |
|---|---|---|
";

#[test]
fn the_page_lists_every_code() {
    let mut page = HEAD.to_owned();
    let mut glossary = Code::GLOSSARY.to_vec();
    glossary.sort_unstable();
    for (code, meaning, remedy) in glossary {
        writeln!(page, "| `{code}` | {meaning} | {remedy} |").expect("a string takes all");
    }
    bless::check("docs/errors.md", page.as_bytes());
}
