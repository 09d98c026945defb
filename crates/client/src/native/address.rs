//! Where the server is, and whether it may be spoken to.

use std::net::{Ipv4Addr, Ipv6Addr};

use afield_protocol::Code;
use ureq::http::Uri;

use crate::error::Error;

/// A server's checked base address, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(String);

impl Address {
    /// Reads `https://host[:port][/path]`, or `http://` to this very machine.
    ///
    /// # Errors
    /// It is no such address; `plain-http` if it would carry a token over an open network.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            let message = format!("the server's address `{text}` {why}");
            Error::new(Code::UNREACHABLE, message)
        };
        let shape = "is not one; write it like https://sync.example.com";
        let uri: Uri = text.trim().parse().map_err(|_| wrong(shape))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong(shape));
        };
        if authority.as_str().contains('@') {
            return Err(wrong("must not hold a user name; give a token instead"));
        }
        if uri.query().is_some() {
            return Err(wrong("must not hold a `?`"));
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(authority.host()) => {}
            "http" => {
                let message = format!(
                    "plain http to `{}` is refused, because anybody in between could read the \
                     token and the rows; use https://, or a loopback address for development",
                    authority.host()
                );
                return Err(Error::new(Code::PLAIN_HTTP, message));
            }
            _ => return Err(wrong("must begin with https://")),
        }
        Ok(Self(text.trim().trim_end_matches('/').to_owned()))
    }

    /// The address of a path that begins with a slash.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether packets to this host never leave the machine.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
        || bare.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<Code> {
        Address::parse(text).err().map(|error| error.code().clone())
    }

    #[test]
    fn plain_http_reaches_this_machine_only() {
        for good in [
            "http://localhost:4100",
            "http://LOCALHOST",
            "http://127.0.0.1:4100/",
            "http://127.8.8.8",
            "http://[::1]:4100",
            "https://sync.example.com/team",
        ] {
            assert_eq!(code(good), None, "{good}");
        }
        for open in [
            "http://sync.example.com",
            "http://10.0.0.7:4100",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0:4100",
            "http://[::ffff:10.0.0.7]",
        ] {
            assert_eq!(code(open), Some(Code::PLAIN_HTTP), "{open}");
        }
    }

    #[test]
    fn what_is_no_address_says_so() {
        for bad in [
            "",
            "sync.example.com",
            "ftp://example.com",
            "http://127.0.0.1@example.com",
            "https://example.com?x=1",
            "/tmp/socket",
        ] {
            assert_eq!(code(bad), Some(Code::UNREACHABLE), "{bad}");
        }
    }

    #[test]
    fn paths_are_kept() {
        let address = Address::parse("https://example.com/team/").unwrap();
        assert_eq!(address.join("/v1/sync"), "https://example.com/team/v1/sync");
    }
}
