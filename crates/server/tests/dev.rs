#![allow(missing_docs, dead_code, unused, clippy::all)]
#[path = "it/postgres_database.rs"]
mod postgres_database;
#[path = "it/postgres_push.rs"]
mod postgres_push;
#[path = "it/postgres_support.rs"]
mod postgres_support;
#[path = "it/sqlite_database.rs"]
mod sqlite_database;
