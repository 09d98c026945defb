//! Server-sent events (the WHATWG's HTML standard, section 9.2), as far as live streams use them.

/// Bytes of an event that is read: those of live streams have a few hundred.
const EVENT_BYTES: usize = 64 * 1024;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// Its data.
        data: String,
    },
    /// A comment: the connection lives.
    Comment,
}

/// Reads events out of bytes that come in any pieces.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    name: String,
    data: String,
    after_cr: bool,
}

/// An event is longer than any that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of a live stream is longer than {EVENT_BYTES} bytes")]
pub struct TooLong;

impl Reader {
    /// What these bytes complete.
    ///
    /// # Errors
    /// An event is too long.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut found = Vec::new();
        for byte in bytes {
            let is_second_half = self.after_cr && *byte == b'\n';
            self.after_cr = *byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    found.extend(self.take(&String::from_utf8_lossy(&line)));
                }
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() + self.name.len() > EVENT_BYTES {
                return Err(TooLong);
            }
        }
        Ok(found)
    }

    fn take(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let (name, data) = (
                std::mem::take(&mut self.name),
                std::mem::take(&mut self.data),
            );
            return (!data.is_empty()).then_some(Message::Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Message::Comment),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Message {
        Message::Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_are_read_in_whatever_pieces_they_come() {
        let text =
            b": hi\nevent: news\r\ndata: {\"a\":\ndata:1}\r\rid: 7\ndata: x\n\nevent: lost\n\n";
        let expected = [
            Message::Comment,
            event("news", "{\"a\":\n1}"),
            event("", "x"),
        ];
        for size in 1..=text.len() {
            let mut reader = Reader::default();
            let pieces = text.chunks(size);
            let found: Vec<_> = pieces.flat_map(|it| reader.push(it).unwrap()).collect();
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn an_endless_event_is_not_kept() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(b"data: 1\n"), Ok(Vec::new()));
        assert_eq!(reader.push(&vec![b'x'; EVENT_BYTES]), Err(TooLong));
    }
}
