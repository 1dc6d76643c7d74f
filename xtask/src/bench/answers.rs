//! Answers of HTTP servers, whole.
//!
//! Owns where one ends. Must not know who asked.

use std::{io::Read as _, net::TcpStream};

use anyhow::{Context as _, Result, bail};

/// What is known of an answer once it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The server goes on with the connection.
    pub(super) goes_on: bool,
}

/// Takes an answer to its end.
pub(super) fn receive(stream: &mut TcpStream) -> Result<Answer> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let bytes = stream.read(&mut chunk).context("cannot read the answer")?;
        if bytes == 0 {
            bail!("the answer is cut off: {:?}", String::from_utf8_lossy(&received));
        }
        received.extend_from_slice(&chunk[..bytes]);
        if let Some(answer) = whole(&received)? {
            return Ok(answer);
        }
    }
}

fn whole(received: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(received).context("no answer")? else {
        return Ok(None);
    };
    let value = |name| {
        let header = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let body: usize = value("content-length")
        .and_then(|length| length.parse().ok())
        .context("an answer that does not say how long it is")?;
    let answer = Answer {
        status: head.code.context("an answer without a status")?,
        goes_on: !value("connection").is_some_and(|word| word.eq_ignore_ascii_case("close")),
    };
    Ok((received.len() >= length + body).then_some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        for (text, status, goes_on) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, true),
            (
                "HTTP/1.1 404 No\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n",
                404,
                false,
            ),
        ] {
            let answer = Answer { status, goes_on };
            assert_eq!(whole(text.as_bytes()).expect("an answer"), Some(answer));
            for cut in 0..text.len() {
                assert_eq!(whole(&text.as_bytes()[..cut]).expect("a beginning"), None);
            }
        }
        for text in ["HTTP/1.1 200 OK\r\n\r\n", "no HTTP"] {
            assert!(whole(text.as_bytes()).is_err(), "{text}");
        }
    }
}
