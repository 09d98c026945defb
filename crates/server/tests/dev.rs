#![allow(missing_docs, dead_code, unused)]
#[path = "it/postgres_database.rs"]
mod postgres_database;
#[path = "it/postgres_storage.rs"]
mod postgres_storage;
#[path = "it/postgres_support.rs"]
mod postgres_support;
