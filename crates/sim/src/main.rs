//! The simulator: worlds of devices, a server and a bad network, and an oracle that watches them.
//!
//! ```text
//! seed ──► generate ──► plan (actions as data) ──► world ──► oracle ──► kept, or a violation
//!                          ▲                                                  │
//!                          └──────────────────── shrink ◄─────────────────────┘
//! ```
//!
//! Order for a first reading: [`app`] (the simulated app), [`action`] (what may happen),
//! [`world`] (how it happens), [`oracle`] (what must hold).
#![expect(clippy::print_stdout, reason = "it is a program that reports")]

mod action;
mod app;
mod args;
mod deed;
mod environment;
mod files;
mod generate;
mod jobs;
mod jobs_team;
mod oracle;
#[cfg(test)]
mod regressions;
mod report;
mod rows;
mod scoped;
mod shrink;
mod statements;
mod tag;
mod tally;
mod team;
mod timed;
mod violation;
mod world;
mod worlds;
mod zoo;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::args::{Arguments, Scenario};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let jobs = worlds::jobs(arguments.jobs);
    if let Some(Scenario::Orders(orders)) = &arguments.scenario {
        return match orders.plant.as_deref().map(zoo::named).transpose() {
            Ok(planted) => report::orders(orders, planted),
            Err(message) => usage(&message),
        };
    }
    let planted = match arguments.plant.as_deref().map(zoo::named).transpose() {
        Ok(planted) => planted,
        Err(message) => return usage(&message),
    };
    match (&arguments.seed, &arguments.seeds, &arguments.zoo) {
        (Some(seed), ..) => report::one(*seed, planted, &arguments),
        (_, Some(seeds), _) if arguments.keep_going => report::all(seeds.clone(), planted, jobs),
        (_, Some(seeds), _) => report::many(seeds.clone(), planted, jobs),
        (_, _, Some(name)) => match zoo::chosen(name) {
            Ok(faults) => report::zoo(&faults, jobs),
            Err(message) => usage(&message),
        },
        _ => {
            println!("{}", Arguments::command().render_long_help());
            ExitCode::from(2)
        }
    }
}

fn usage(message: &str) -> ExitCode {
    println!("{message}");
    ExitCode::from(2)
}
