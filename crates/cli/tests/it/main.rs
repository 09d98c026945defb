//! Integration tests of the program: real processes, a real server, real SQLite files.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "a child process tells its parent")]

mod deaths;
mod decide;
mod device;
mod encryption;
mod generate;
mod generate_numbers;
mod handing_on;
mod hundred;
mod inbox;
mod inbox_random;
mod live;
mod logs;
mod model_changes;
mod named_absence;
mod named_answers;
mod named_bytes;
mod named_child;
mod named_chosen;
mod named_copies;
mod named_deaths;
mod named_kills;
mod named_lookups;
mod named_orders;
mod named_overlaps;
mod named_poison;
mod named_processes;
mod named_restore;
mod named_rules;
mod named_soft_delete;
mod named_verdicts;
mod named_windows;
mod outbox_file;
mod outbox_file_review;
mod postgres;
mod proxy;
mod repl;
mod sites;
mod support;
mod users;
mod values;
mod verify;
mod who_wins;
mod why;
mod world;
