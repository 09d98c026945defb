//! The protocol's tests from outside: what is written reads back, what is hostile is refused,
//! and the golden files, the specification and the glossary say what the code does.

mod arbitrary;
mod conflict_table;
mod hostile;
mod round_trip;
mod sample;
mod wire;
