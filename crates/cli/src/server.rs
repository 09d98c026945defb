//! `afield serve` and `afield token`.

use std::io::IsTerminal as _;

use afield_server::auth::Auth;
use afield_server::http::{HttpLimits, ServerState};
use afield_server::model::ModelFile;
use afield_server::serve::{self, ServeOptions, system_clock};
use afield_server::storage::Retention;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::database::opened;
use crate::failure::Failure;
use crate::model::{ModelArgs, checked};
use crate::output::Output;

/// `afield serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where to listen, in place of the model file's address; port 0 takes a free one.
    #[arg(long, env = "AFIELD_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Print the server's URL, alone on a line, once it accepts connections: for scripts.
    #[arg(long)]
    once_ready_print: bool,
    /// Allow plain HTTP on an address that other machines reach, because a proxy speaks TLS.
    #[arg(long)]
    behind_proxy: bool,
    /// Write the log as JSON lines.
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// `afield token`.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Whose token it is.
    #[arg(long)]
    user: String,
    /// A further claim, its value in JSON; may stand several times.
    #[arg(long, value_name = "NAME=JSON")]
    claim: Vec<String>,
    /// How long it is valid: a number and s, m, h or d.
    #[arg(long, default_value = "30d", value_name = "TIME")]
    ttl: String,
    #[command(flatten)]
    model: ModelArgs,
}

/// Serves until told to stop.
pub(crate) fn serve(args: &ServeArgs, out: &Output) -> Result<(), Failure> {
    log(args.log_json);
    let file = args.model.read(args.listen.clone(), out)?;
    let state = state(&file, out)?;
    let scheme = if file.server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let options = ServeOptions {
        tls: file.server.tls.clone(),
        behind_proxy: args.behind_proxy,
        retention: Retention::of(file.server.retention_s()),
        ..ServeOptions::within(file.server.listen, &file.limits)
    };
    let ready = |address| {
        if args.once_ready_print {
            out.print(&format!("{scheme}://{address}"));
        } else {
            out.say(&format!(
                "Serving {} on {scheme}://{address}",
                file.path.display()
            ));
            out.say("Ctrl-C stops; what is in flight finishes first.");
        }
    };
    serve::serve(&options, state, ready)
        .map_err(|error| Failure::refused("serve", error.to_string()))
}

/// Everything the server needs, opened.
pub(crate) fn state(file: &ModelFile, out: &Output) -> Result<ServerState, Failure> {
    let model = checked(file, out)?;
    let limits = HttpLimits {
        model_version_min: file.server.min_version,
        ..HttpLimits::from(&file.limits)
    };
    Ok(ServerState::new(
        opened(file, &model)?,
        model,
        auth(file)?,
        limits,
        system_clock(),
    ))
}

/// Prints a signed token, and nothing else.
pub(crate) fn token(args: &TokenArgs, out: &Output) -> Result<(), Failure> {
    let file = args.model.read(None, out)?;
    let claims = claims(&args.claim)?;
    let token = issue(&file, &args.user, &claims, seconds(&args.ttl)?)?;
    if out.is_json() {
        out.json(&json!({ "token": token }));
    } else {
        out.print(&token);
    }
    Ok(())
}

/// A token for `user` that ends in `ttl_s` seconds.
pub(crate) fn issue(
    file: &ModelFile,
    user: &str,
    claims: &Map<String, Value>,
    ttl_s: i64,
) -> Result<String, Failure> {
    let now = system_clock()();
    auth(file)?
        .issue(user, now.saturating_add(ttl_s), claims)
        .map_err(|error| Failure::refused("secret", error.to_string()))
}

fn auth(file: &ModelFile) -> Result<Auth, Failure> {
    Auth::open(&file.auth).map_err(|error| Failure::refused("secret", error.to_string()))
}

/// The claims that a command line names.
pub(crate) fn claims(words: &[String]) -> Result<Map<String, Value>, Failure> {
    words.iter().map(|claim| parse_claim(claim)).collect()
}

fn parse_claim(claim: &str) -> Result<(String, Value), Failure> {
    let (name, value) = claim.split_once('=').ok_or_else(|| {
        Failure::usage(format!(
            "--claim {claim}: expected NAME=JSON, like --claim regions=[1,2]"
        ))
    })?;
    let value = serde_json::from_str(value).map_err(|error| {
        let hint = format!("text needs quotes, like --claim '{name}=\"north\"'");
        Failure::usage(format!("--claim {name}: {error}; {hint}"))
    })?;
    Ok((name.to_owned(), value))
}

fn seconds(ttl: &str) -> Result<i64, Failure> {
    let unit = ttl.chars().last().and_then(|unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    });
    let number = ttl
        .get(..ttl.len().saturating_sub(1))
        .and_then(|n| n.trim().parse::<i64>().ok());
    unit.zip(number)
        .and_then(|(unit, number)| number.checked_mul(unit))
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| Failure::usage(format!("--ttl {ttl}: expected a time like 30d, 12h or 90s")))
}

/// Logs go to standard error; `RUST_LOG` chooses the level.
pub(crate) fn log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start in one process keeps the first one's log.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        assert_eq!(seconds("30d").unwrap(), 30 * 86_400);
        assert_eq!(seconds("90s").unwrap(), 90);
        for wrong in ["", "30", "d", "-1d", "0h", "1w", "9999999999999999d", "1é"] {
            assert_eq!(
                seconds(wrong).unwrap_err().exit,
                crate::failure::USAGE,
                "{wrong}"
            );
        }
    }

    #[test]
    fn claims_are_json() {
        assert_eq!(parse_claim("a=[1]").unwrap(), ("a".to_owned(), json!([1])));
        assert!(parse_claim("a").is_err());
        assert!(
            parse_claim("a=b")
                .unwrap_err()
                .message
                .contains("needs quotes")
        );
    }
}
