//! The frames between worker and evaluator, over two pipes; `evaluator/pipes.R` has the other end.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

/// What is sent to R.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
pub enum ToR {
    /// The secret by which marks in the output are known.
    Hello = 1,
    /// A job's context.
    Context = 2,
    /// An object that R asked for.
    Object = 3,
    /// A chunk to run.
    Chunk = 4,
    /// A context and a chunk, when both are short: answered when the context is loaded, and again
    /// when the chunk is done.
    First = 5,
    /// To compile its own functions.
    Compile = 6,
    /// The path of a file with an object that R asked for.
    File = 7,
}

/// What R answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromR {
    /// It is ready for the next request.
    Ready,
    /// It lacks the object with this hash.
    Need,
    /// The chunk is done.
    Done,
    /// The context does not load.
    Refused,
    /// The chunk was interrupted.
    Interrupted,
    /// A task says something; the answer is still to come.
    Signal,
}

impl FromR {
    fn new(kind: i32) -> Option<Self> {
        Some(match kind {
            1 => Self::Ready,
            2 => Self::Need,
            3 => Self::Done,
            4 => Self::Refused,
            5 => Self::Interrupted,
            6 => Self::Signal,
            _ => return None,
        })
    }
}

/// An answer, and to what.
#[derive(Debug)]
pub struct Answer {
    /// What it is.
    pub kind: FromR,
    /// The number of the request that it answers.
    pub request: i32,
    /// The process that wrote it.
    pub pid: i32,
    /// The content.
    pub payload: Vec<u8>,
}

const HEAD: usize = 24;

/// How much room is made at a time for what is to come.
const READ: usize = 64 << 20;

/// The end that reads R's answers.
#[derive(Debug)]
pub struct Answers {
    pipe: Receiver,
    buffer: Vec<u8>,
    secret: Vec<u8>,
}

/// How long a payload is: so many bytes, or up to the secret.
enum Length {
    Bytes(usize),
    Stream,
}

impl Answers {
    /// Reads from `pipe`; `secret` ends a payload whose length R did not know.
    pub fn new(pipe: Receiver, secret: &str) -> Self {
        Self { pipe, buffer: Vec::new(), secret: secret.as_bytes().to_vec() }
    }

    /// The next answer. Cancel-safe: what has been read stays for the next call.
    ///
    /// # Errors
    /// When the pipe ends or what comes is no frame.
    pub async fn next(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((kind, request, pid, length)) = self.head()? {
                if let Some(end) = self.end_of_payload(&length) {
                    let rest = self.buffer.split_off(end);
                    let mut payload = std::mem::replace(&mut self.buffer, rest);
                    if matches!(length, Length::Stream) {
                        payload.truncate(end - self.secret.len());
                    }
                    payload.drain(..HEAD);
                    return Ok(Answer { kind, request, pid, payload });
                }
                let missing = match length {
                    Length::Bytes(length) => HEAD + length - self.buffer.len(),
                    Length::Stream => READ,
                };
                self.buffer.reserve(missing.min(READ));
            } else {
                self.buffer.reserve(4096);
            }
            if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Where in the buffer the frame ends, if it has come. Nothing follows a stream until R is asked
    /// again.
    fn end_of_payload(&self, length: &Length) -> Option<usize> {
        let come = self.buffer.len();
        match length {
            Length::Bytes(length) => (come - HEAD >= *length).then_some(HEAD + length),
            Length::Stream => self.buffer[HEAD..].ends_with(&self.secret).then_some(come),
        }
    }

    fn head(&self) -> io::Result<Option<(FromR, i32, i32, Length)>> {
        let Some((head, _)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let int =
            |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut length = [0; 8];
        length.copy_from_slice(&head[16..]);
        let length = f64::from_ne_bytes(length);
        let length = match length {
            -1.0 => Some(Length::Stream),
            _ if (0.0..1e15).contains(&length) => Some(Length::Bytes(length as usize)),
            _ => None,
        };
        match (FromR::new(int(0)), length) {
            (Some(kind), Some(length)) if int(12) == 0 => Ok(Some((kind, int(4), int(8), length))),
            _ => Err(io::Error::other("what came through the pipe is no answer")),
        }
    }
}

/// The end that writes requests to R.
#[derive(Debug)]
pub struct Requests {
    pipe: Sender,
}

impl Requests {
    /// Writes to `pipe`.
    pub fn new(pipe: Sender) -> Self {
        Self { pipe }
    }

    /// Sends one frame, made of `parts`. Not cancel-safe: an evaluator that has been sent half a
    /// frame must not be used again.
    ///
    /// # Errors
    /// When R has closed its end.
    pub async fn send(&mut self, kind: ToR, request: i32, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut head = Vec::with_capacity(16 + length.min(4096));
        head.extend_from_slice(&(kind as i32).to_ne_bytes());
        head.extend_from_slice(&request.to_ne_bytes());
        head.extend_from_slice(&(length as f64).to_ne_bytes());
        // A short frame goes out in one write.
        if length <= 4096 {
            parts.iter().for_each(|part| head.extend_from_slice(part));
            return self.pipe.write_all(&head).await;
        }
        self.pipe.write_all(&head).await?;
        for part in parts {
            self.pipe.write_all(part).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All answers that these bytes hold, and how the pipe ended.
    async fn read_all(bytes: &[u8]) -> io::Result<(Vec<Answer>, io::Error)> {
        let (mut into, from) = tokio::net::unix::pipe::pipe()?;
        let mut answers = Answers::new(from, "secret");
        let writing = async {
            // Who has seen a wrong frame reads no more.
            let _ = into.write_all(bytes).await;
            drop(into);
        };
        let reading = async {
            let mut all = Vec::new();
            loop {
                match answers.next().await {
                    Ok(answer) => all.push(answer),
                    Err(error) => {
                        drop(answers);
                        return (all, error);
                    }
                }
            }
        };
        Ok(tokio::join!(writing, reading).1)
    }

    fn frame(kind: i32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        [kind, 7, 42, 0].iter().for_each(|number| frame.extend(number.to_ne_bytes()));
        frame.extend((payload.len() as f64).to_ne_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    proptest! {
        #[test]
        fn answers_are_read_whatever_follows_them(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
            rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes: Vec<u8> = payloads.iter().flat_map(|p| frame(3, p)).collect();
            bytes.extend(&rest);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (answers, _) = runtime.block_on(read_all(&bytes))?;
            prop_assert!(answers.len() >= payloads.len());
            for (answer, payload) in answers.iter().zip(&payloads) {
                prop_assert_eq!(&answer.payload, payload);
                prop_assert_eq!((answer.kind, answer.request, answer.pid), (FromR::Done, 7, 42));
            }
        }
    }
}
