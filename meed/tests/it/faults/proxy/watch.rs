//! Parses the messages of a PostgreSQL client, and detects those that commit claims.

use std::collections::HashSet;

#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub bytes: Vec<u8>,
    /// This message starts a commit
    pub commits: bool,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Watch {
    arrived: Vec<u8>,
    /// The first messages (encryption and startup) have no type.
    started: bool,
    /// Names of prepared statements that commit
    committing: HashSet<Vec<u8>>,
    /// One of them is bound and executes with the next `Sync`.
    bound: bool,
}

/// Protocol version 3.0 in the startup message; other values request encryption.
const VERSION: [u8; 4] = [0, 3, 0, 0];

impl Watch {
    /// The messages that these bytes complete.
    pub fn messages(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.arrived.extend_from_slice(bytes);
        let mut messages = Vec::new();
        loop {
            let prefix = usize::from(self.started);
            let Some(length) = self.arrived.get(prefix..prefix + 4) else {
                break;
            };
            let length = prefix + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if self.arrived.len() < length {
                break;
            }
            let bytes: Vec<_> = self.arrived.drain(..length).collect();
            let commits = if self.started { self.commits(&bytes) } else { false };
            self.started |= bytes.get(4..8) == Some(&VERSION) || self.started;
            messages.push(Message { bytes, commits });
        }
        messages
    }

    fn commits(&mut self, message: &[u8]) -> bool {
        let body = &message[5..];
        match message[0] {
            b'Q' => is_commit(body),
            b'P' => {
                let (name, rest) = text(body);
                if is_commit(text(rest).0) {
                    self.committing.insert(name.to_vec());
                } else {
                    self.committing.remove(name);
                }
                false
            }
            b'B' => {
                let (_portal, rest) = text(body);
                self.bound |= self.committing.contains(text(rest).0);
                false
            }
            b'S' => std::mem::take(&mut self.bound),
            _ => false,
        }
    }
}

/// Whether a response is complete, that is, ends with `ReadyForQuery`.
pub fn is_ready(answer: &[u8]) -> bool {
    let Some(end) = answer.len().checked_sub(6) else {
        return false;
    };
    answer[end..end + 5] == [b'Z', 0, 0, 0, 5]
}

/// The text before the NUL, and the bytes after it.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// A statement that writes requests commits itself, except within a transaction, where losing it is harmless.
fn is_commit(sql: &[u8]) -> bool {
    let has = |word: &[u8]| sql.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    has(b"COMMIT") || has(b"INSERT INTO reward_requests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short");
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn every_form_of_commit_is_detected_and_nothing_else() {
        let encryption = [0, 0, 0, 8, 4, 210, 22, 47].to_vec();
        let start = [&[0, 0, 0, 9][..], &VERSION, &[0]].concat();
        let sent = [
            encryption,
            start,
            message(b'Q', b"BEGIN\0"),
            message(b'Q', b"COMMIT\0"),
            message(b'P', b"one\0INSERT INTO reward_requests (id)\0"),
            message(b'P', b"two\0SELECT 1\0"),
            message(b'S', b""),
            message(b'B', b"\0two\0"),
            message(b'S', b""),
            message(b'B', b"\0one\0"),
            message(b'E', b"\0"),
            message(b'S', b""),
        ];
        let stream = sent.concat();
        for step in [1, 7, stream.len()] {
            let mut watch = Watch::default();
            let messages: Vec<_> = stream.chunks(step).flat_map(|bytes| watch.messages(bytes)).collect();
            assert_eq!(
                messages.iter().map(|message| message.bytes.clone()).collect::<Vec<_>>(),
                sent
            );
            let commits: Vec<_> = messages.iter().map(|message| message.commits).collect();
            let expected: Vec<_> = (0..sent.len()).map(|number| [3, 11].contains(&number)).collect();
            assert_eq!(commits, expected);
        }
        assert!(is_ready(&message(b'Z', b"I")) && !is_ready(&message(b'C', b"I")));
    }
}
