//! Reading lines, none longer than a limit, none that is not text.

use std::io::{BufRead, Read as _};

use afield::Error;
use afield_protocol::Code;
use afield_protocol::limits::BODY_BYTES;

/// Longest request: what fits into one sync request, written as JSON.
const LINE_BYTES: usize = 2 * BODY_BYTES;

/// The lines of an input.
pub(super) struct Lines<R> {
    input: R,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input }
    }

    /// The next line that is not blank; `None` at the end of the input, or when it fails.
    pub(super) fn next_line(&mut self) -> Option<Result<String, Error>> {
        loop {
            let mut line = Vec::new();
            let limit = LINE_BYTES as u64 + 1;
            let read = self.input.by_ref().take(limit).read_until(b'\n', &mut line);
            if read.ok()? == 0 {
                return None;
            }
            if line.len() > LINE_BYTES && line.last() != Some(&b'\n') {
                self.skip_line()?;
                let message = format!("a request longer than {LINE_BYTES} bytes");
                return Some(Err(Error::new(Code::TOO_LARGE, message)));
            }
            let line = String::from_utf8(line).map_err(|_| {
                Error::new(
                    Code::MALFORMED,
                    "a request is text in UTF-8, and this line is not",
                )
            });
            match line {
                Ok(line) if line.trim().is_empty() => {}
                line => return Some(line),
            }
        }
    }

    /// Reads to the end of a line without keeping it.
    fn skip_line(&mut self) -> Option<()> {
        loop {
            let buffer = self.input.fill_buf().ok()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (used, done) = match end {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(used);
            if done {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_of_text_is_refused_and_the_next_one_is_read() {
        let mut input = b"{\"do\":1}\n\n \xff\n".to_vec();
        input.extend(std::iter::repeat_n(b'x', LINE_BYTES + 10));
        input.extend(b"\nlast");
        let mut lines = Lines::new(input.as_slice());
        assert_eq!(lines.next_line().unwrap().unwrap(), "{\"do\":1}\n");
        let refused = lines.next_line().unwrap().unwrap_err();
        assert_eq!(refused.code(), &Code::MALFORMED);
        let refused = lines.next_line().unwrap().unwrap_err();
        assert_eq!(refused.code(), &Code::TOO_LARGE);
        assert_eq!(lines.next_line().unwrap().unwrap(), "last");
        assert!(lines.next_line().is_none());
    }
}
