//! The `afield` program: model, server, devices and demo.

mod database;
mod demo;
mod device;
mod failure;
mod generate;
mod import;
mod inbox;
mod incarnation;
mod interrupt;
mod logs;
mod model;
mod output;
mod purge;
mod repl;
mod server;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Offline data for apps in the field.
///
/// From an existing database to devices in sync:
///
///   afield init --from shop.sqlite    writes afield.toml
///   afield prepare                    installs change capture (--dry-run shows it)
///   afield serve                      serves devices
///   afield token --user ann           lets a device in
///   afield device phone sync          a real device, on the command line
///   afield generate rust              its entities as types, for an app in Rust
///   afield why visit 7 --user ann     why a row is, or is not, on somebody's devices
///   afield inbox                      what was not applied, and waits for a decision
///   afield logs --user ann            what the app on Ann's devices said
///   afield import ann.outbox          what a device could not send, from a file
#[derive(Parser)]
#[command(name = "afield", version, verbatim_doc_comment)]
struct Arguments {
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a model file for an existing database.
    Init(model::InitArgs),
    /// Add tables to the model file.
    Add(model::AddArgs),
    /// Install, show or remove change capture in the database.
    Prepare(model::PrepareArgs),
    /// Serve devices.
    Serve(server::ServeArgs),
    /// Forget what is older than the retention; a server does it by itself.
    Purge(purge::PurgeArgs),
    /// Make every device load its tables again, after a restore that no server can see.
    NewIncarnation(incarnation::IncarnationArgs),
    /// Write code for an app: a type for each local entity.
    Generate(generate::GenerateArgs),
    /// See it work: a sample database, the server, three devices; or a day of one.
    Demo(demo::DemoArgs),
    /// Print a signed token for a user.
    Token(server::TokenArgs),
    /// List conflicts and refused changes of all devices, and decide them.
    Inbox(inbox::InboxArgs),
    /// Apply the changes of a file that a device exported.
    Import(import::ImportArgs),
    /// Show what apps on devices wrote into their logs.
    Logs(logs::LogsArgs),
    /// Say why a row is on a user's devices, or is not, and whether he may write it.
    Why(why::WhyArgs),
    /// Be a device: a store on this machine that reads, writes and synchronises.
    Device(device::DeviceArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let out = Output::new(arguments.json);
    match run(&arguments.command, &out) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out.json(&json!({ "error": { "code": failure.code, "message": failure.message } }));
            if !out.is_json() {
                out.note(&format!("afield: {failure}"));
            }
            ExitCode::from(failure.exit)
        }
    }
}

fn run(command: &Command, out: &Output) -> Result<u8, Failure> {
    match command {
        Command::Device(args) => return device::run(args, out),
        Command::Import(args) => return import::run(args, out),
        Command::Init(args) => model::init(args, out),
        Command::Add(args) => model::add(args, out),
        Command::Prepare(args) => model::prepare(args, out),
        Command::Serve(args) => server::serve(args, out),
        Command::Purge(args) => purge::run(args, out),
        Command::NewIncarnation(args) => incarnation::run(args, out),
        Command::Generate(args) => generate::run(args, out),
        Command::Demo(args) => demo::run(args, out),
        Command::Token(args) => server::token(args, out),
        Command::Inbox(args) => inbox::run(args, out),
        Command::Logs(args) => logs::run(args, out),
        Command::Why(args) => why::run(args, out),
    }
    .map(|()| 0)
}
