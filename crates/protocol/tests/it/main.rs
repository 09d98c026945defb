//! The protocol's tests from outside: what is written reads back, what is hostile is refused,
//! and the golden files, the specification and the glossary say what the code does.

mod arbitrary;
mod bless;
mod bounds;
mod conflict_table;
mod glossary;
mod golden;
mod golden_inbox;
mod golden_log;
mod golden_values;
mod golden_verify;
mod hostile;
mod outbox_file;
mod round_trip;
mod sample;
mod specification;
mod wire;
