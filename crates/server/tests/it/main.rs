//! Integration tests of the server: real SQLite files, real HTTP.

mod sqlite_database;
mod sqlite_marks;
mod sqlite_prepare;
mod sqlite_pull;
mod sqlite_push;
mod sqlite_storage;
