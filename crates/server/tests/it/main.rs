//! Integration tests of the server: real SQLite files, real HTTP.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what failed by failing there"
)]

mod http_attacks;
mod http_coding;
mod http_forged;
mod http_forged_behind;
mod http_forged_chosen;
mod http_inbox;
mod http_limits;
mod http_limits_each;
mod http_live;
mod http_live_support;
mod http_log;
mod http_numbers;
mod http_other;
mod http_real;
mod http_serve;
mod http_support;
mod http_sync;
mod http_tokens;
mod http_windows;
mod model_catalog;
mod model_delete;
mod model_file;
mod model_init;
mod model_keep;
mod model_limits;
mod model_lookup;
mod model_resolve;
mod model_rules;
mod model_scope;
mod model_scope_chosen;
mod model_scope_query;
mod model_sync;
mod model_writes;
mod postgres_capture_stress;
mod postgres_catalog;
mod postgres_commits;
mod postgres_connect;
mod postgres_database;
mod postgres_duties;
mod postgres_epochs;
mod postgres_init;
mod postgres_live;
mod postgres_logical;
mod postgres_marks;
mod postgres_prepare;
mod postgres_pull;
mod postgres_push;
mod postgres_query;
mod postgres_scopes;
mod postgres_storage;
mod postgres_stress;
mod postgres_support;
mod postgres_types;
mod postgres_writers;
mod sqlite_database;
mod sqlite_deleted_lookups;
mod sqlite_limits;
mod sqlite_lookups;
mod sqlite_marks;
mod sqlite_numbers;
mod sqlite_prepare;
mod sqlite_push;
mod sqlite_rights;
mod sqlite_scopes;
mod sqlite_storage;
mod sqlite_together;
mod sqlite_values;
#[cfg(feature = "zoo")]
mod sqlite_zoo;
