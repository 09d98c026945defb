//! HTTP/1.1 by hand: one request, one connection, nothing between the test and the bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value as Json;

/// A request.
#[derive(Clone)]
pub(crate) struct Ask {
    head: Vec<String>,
    body: Option<Vec<u8>>,
    is_chunked: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub(crate) is_whole: bool,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            head: vec![format!("{method} {path} HTTP/1.1"), "Host: test".into()],
            body: None,
            is_chunked: false,
        }
    }

    pub(crate) fn sync(token: &str) -> Self {
        Self::new("POST", "/v1/sync").header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push(format!("{name}: {value}"));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.is_chunked = true;
        self
    }

    pub(crate) fn send(self, to: SocketAddr) -> Answer {
        self.send_over(connect(to))
    }

    pub(crate) fn send_over(self, mut stream: impl Read + Write) -> Answer {
        self.write(&mut stream);
        read_answer(&mut BufReader::new(stream))
    }

    pub(crate) fn write(mut self, stream: &mut impl Write) {
        let body = self.body.take().unwrap_or_default();
        self.head.push("Connection: close".into());
        if self.is_chunked {
            self.head.push("Transfer-Encoding: chunked".into());
        } else if !body.is_empty() {
            self.head.push(format!("Content-Length: {}", body.len()));
        }
        let head = format!("{}\r\n\r\n", self.head.join("\r\n"));
        stream.write_all(head.as_bytes()).unwrap();
        if self.is_chunked {
            for chunk in body.chunks(7_000) {
                write!(stream, "{:x}\r\n", chunk.len()).unwrap();
                stream.write_all(chunk).unwrap();
                stream.write_all(b"\r\n").unwrap();
            }
            stream.write_all(b"0\r\n\r\n").unwrap();
        } else {
            stream.write_all(&body).unwrap();
        }
        stream.flush().unwrap();
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document: Json = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["status"], self.status);
        assert!(
            document["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        document["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    // A test that hangs is a test that fails.
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

pub(crate) fn read_answer(stream: &mut impl BufRead) -> Answer {
    let mut answer = read_head(stream);
    let is_chunked = answer.header("transfer-encoding") == Some("chunked");
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if is_chunked {
        while let Some(chunk) = read_chunk(stream) {
            if chunk.is_empty() {
                answer.is_whole = true;
                break;
            }
            answer.body.extend(chunk);
        }
    } else if let Some(length) = length {
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).unwrap();
        answer.is_whole = true;
    } else {
        answer.is_whole = true;
    }
    answer
}

pub(crate) fn read_head(stream: &mut impl BufRead) -> Answer {
    let status = line(stream).expect("an answer");
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap();
    let mut headers = Vec::new();
    while let Some((name, value)) = line(stream).unwrap().split_once(": ") {
        headers.push((name.to_owned(), value.to_owned()));
    }
    Answer {
        status,
        headers,
        body: Vec::new(),
        is_whole: false,
    }
}

/// A chunk; an empty one at the end; `None` where the connection broke off.
pub(crate) fn read_chunk(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let size = usize::from_str_radix(&line(stream)?, 16).ok()?;
    let mut chunk = vec![0; size];
    stream.read_exact(&mut chunk).ok()?;
    line(stream)?;
    Some(chunk)
}

fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
    }
}
