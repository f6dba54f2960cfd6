//! What R prints: read from its standard streams, told apart by task, and cut where it is too much.
//!
//! After a task that took long enough, and before each condition, R writes a mark on both streams: a
//! secret, the number of the task, and the number of the mark. When R has answered, all it printed
//! stands in the pipes, so the rest belongs to the chunk.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustbatch_protocol::{Output, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How many bytes of one stream are kept of what is printed between two marks.
const MOST: usize = 1 << 20;

/// How many bytes are kept of all that a chunk prints: with a value beside them they fit a frame.
const ALL: usize = 4 << 20;

/// What a piece takes in a frame besides its bytes, at most.
const PIECE: usize = 32;

/// How much of standard error is kept to explain a death, in bytes.
const TAIL: usize = 4096;

/// How many lines of it are shown, and how many characters of each.
const LINES: usize = 40;
const WIDTH: usize = 160;

/// How much of what a process prints is read at a time, in bytes: what a pipe holds.
const READ: usize = 1 << 16;

/// Cuts one stream at its marks.
#[derive(Debug)]
struct Splitter {
    stream: Stream,
    secret: Vec<u8>,
    /// What has come and is not yet known to hold no part of a mark.
    pending: Vec<u8>,
    task: u32,
    kept: Vec<u8>,
    cut: u64,
    done: Vec<Output>,
}

impl Splitter {
    fn new(stream: Stream, secret: &str) -> Self {
        let secret = format!("\u{1}{secret}:").into_bytes();
        Self {
            stream,
            secret,
            pending: Vec::new(),
            task: 0,
            kept: Vec::new(),
            cut: 0,
            done: Vec::new(),
        }
    }

    /// Bytes have come, of which `left` may be kept.
    fn feed(&mut self, bytes: &[u8], left: &mut usize) {
        self.pending.extend_from_slice(bytes);
        while let Some(at) = find(&self.pending, &self.secret) {
            let after = at + self.secret.len();
            let Some(end) = self.pending[after..].iter().position(|&b| b == 2) else {
                // The mark's end has not come yet.
                let rest = self.pending.split_off(at);
                let text = std::mem::replace(&mut self.pending, rest);
                self.keep(&text, left);
                return;
            };
            let numbers = String::from_utf8_lossy(&self.pending[after..after + end]).into_owned();
            let rest = self.pending.split_off(after + end + 1);
            let mut text = std::mem::replace(&mut self.pending, rest);
            text.truncate(at);
            self.keep(&text, left);
            let (task, mark) = numbers.split_once('.').unwrap_or(("1", "0"));
            self.task = task.parse().unwrap_or(1_u32).saturating_sub(1);
            self.close(mark.parse().unwrap_or(0), left);
        }
        // A mark may have begun in the last bytes.
        let safe = self.pending.len().saturating_sub(self.secret.len() - 1);
        let begins = self.pending[safe..]
            .iter()
            .position(|&b| b == 1)
            .map_or(self.pending.len(), |i| safe + i);
        let rest = self.pending.split_off(begins);
        let text = std::mem::replace(&mut self.pending, rest);
        self.keep(&text, left);
    }

    fn keep(&mut self, text: &[u8], left: &mut usize) {
        let room = MOST.saturating_sub(self.kept.len()).min(*left).min(text.len());
        self.kept.extend_from_slice(&text[..room]);
        *left -= room;
        self.cut += (text.len() - room) as u64;
    }

    /// What has been kept is a piece that the mark of this number ended. One of which nothing could be
    /// kept is counted as cut off behind the last.
    fn close(&mut self, mark: u32, left: &mut usize) {
        let bytes = std::mem::take(&mut self.kept);
        let (task, stream, cut) = (self.task, self.stream, std::mem::take(&mut self.cut));
        match self.done.last_mut() {
            _ if bytes.is_empty() && cut == 0 => {}
            Some(last) if bytes.is_empty() => last.cut += cut,
            _ => {
                *left = left.saturating_sub(PIECE);
                self.done.push(Output { task, mark, stream, bytes, cut });
            }
        }
    }

    fn take(&mut self, left: &mut usize) -> Vec<Output> {
        let rest = std::mem::take(&mut self.pending);
        self.keep(&rest, left);
        self.close(u32::MAX, left);
        self.task = 0;
        std::mem::take(&mut self.done)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Gathers both streams of one R process.
#[derive(Debug)]
pub struct Capture {
    out: Splitter,
    err: Splitter,
    /// How many more bytes may be kept until all is taken.
    left: usize,
    tail: VecDeque<u8>,
}

impl Capture {
    /// Gathers with marks known by `secret`.
    pub fn new(secret: &str) -> Self {
        Self {
            out: Splitter::new(Stream::Out, secret),
            err: Splitter::new(Stream::Err, secret),
            left: ALL,
            tail: VecDeque::new(),
        }
    }

    /// Bytes have come.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Out => self.out.feed(bytes, &mut self.left),
            Stream::Err => {
                self.err.feed(bytes, &mut self.left);
                self.tail.extend(bytes);
                let surplus = self.tail.len().saturating_sub(TAIL);
                self.tail.drain(..surplus);
            }
        }
    }

    /// What has been printed since the last call, each stream in order.
    pub fn take(&mut self) -> Vec<Output> {
        let mut all = self.out.take(&mut self.left);
        all.extend(self.err.take(&mut self.left));
        self.left = ALL;
        all
    }

    /// The last lines of standard error, without marks, to explain a death.
    pub fn last_words(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let text: String = text
            .split('\u{1}')
            .map(|piece| piece.split_once('\u{2}').map_or(piece, |(_, rest)| rest))
            .collect();
        let lines: Vec<String> = text.lines().map(shortened).collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n").trim().to_owned()
    }
}

/// A line of at most [`WIDTH`] characters.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Reads what comes next into `buffer`; 0 at the end. Cancel-safe.
pub async fn some<R: AsyncRead + Unpin>(pipe: &mut Option<R>, buffer: &mut Vec<u8>) -> usize {
    match pipe {
        Some(pipe) => {
            buffer.clear();
            buffer.reserve(READ);
            pipe.read_buf(buffer).await.unwrap_or(0)
        }
        None => std::future::pending().await,
    }
}

/// Reads what already stands in the pipe, without waiting for more. It asks the system itself: the
/// runtime may not have heard yet of what R wrote just before it answered. Takes no more than a pipe
/// holds, because a command that a task has left running may write for ever; the rest, and the end,
/// the runtime reads.
pub fn drain<R: AsFd>(pipe: Option<&R>, stream: Stream, capture: &mut Capture) {
    let Some(pipe) = pipe else { return };
    let (mut buffer, mut left) = ([0; 1 << 14], READ);
    while let Ok(n @ 1..) = rustix::io::read(pipe, &mut buffer) {
        capture.feed(stream, &buffer[..n]);
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use rustbatch_protocol::{blob::INLINE, seal::MAX_PLAIN};

    use super::*;

    fn texts(outputs: &[Output], stream: Stream) -> Vec<(u32, String)> {
        let of = outputs.iter().filter(|o| o.stream == stream);
        of.map(|o| (o.task, String::from_utf8_lossy(&o.bytes).into_owned())).collect()
    }

    #[test]
    fn marks_divide_the_output_wherever_the_reads_fall() {
        let whole = b"one\x01abc:1.1\x02two\nmore\x01abc:2.2\x02rest \x01 odd";
        for step in 1..whole.len() {
            let mut capture = Capture::new("abc");
            whole.chunks(step).for_each(|bytes| capture.feed(Stream::Out, bytes));
            let expected = [(0, "one"), (1, "two\nmore"), (1, "rest \u{1} odd")];
            let expected: Vec<_> = expected.map(|(t, s)| (t, s.to_owned())).into();
            assert_eq!(texts(&capture.take(), Stream::Out), expected, "step {step}");
            assert_eq!(capture.take(), vec![]);
        }
    }

    /// The text without the marks of the secret `a`. One without an end is none.
    fn without_marks(printed: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(printed).expect("ASCII");
        let mut pieces = text.split("\x01a:");
        let mut rest = pieces.next().unwrap_or_default().to_owned();
        let mut open = String::new();
        for piece in pieces {
            open.push_str("\x01a:");
            open.push_str(piece);
            if let Some((_, after)) = open.split_once('\x02') {
                rest.push_str(after);
                open.clear();
            }
        }
        (rest + &open).into_bytes()
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_printed_but_marks_is_lost(
            pieces in proptest::collection::vec(proptest::collection::vec(0_u8..5, 0..40), 0..20)
        ) {
            // Few different bytes, so that halves of marks are frequent.
            let bytes = |piece: &[u8]| piece.iter().map(|&b| b"\x01\x02a:1"[b as usize]).collect();
            let mut capture = Capture::new("a");
            let mut printed = Vec::new();
            for piece in &pieces {
                let piece: Vec<u8> = bytes(piece);
                capture.feed(Stream::Out, &piece);
                printed.extend(piece);
            }
            let taken = capture.take();
            let kept: Vec<u8> = taken.iter().flat_map(|output| output.bytes.clone()).collect();
            proptest::prop_assert_eq!(kept, without_marks(&printed));
            proptest::prop_assert!(taken.iter().all(|output| output.cut == 0));
            capture.feed(Stream::Out, b"end");
            let after = texts(&capture.take(), Stream::Out);
            proptest::prop_assert_eq!(after, vec![(0, "end".to_owned())]);
        }
    }

    fn sums(outputs: &[Output]) -> (usize, u64) {
        let kept = outputs.iter().map(|output| output.bytes.len()).sum();
        (kept, outputs.iter().map(|output| output.cut).sum())
    }

    #[test]
    fn too_much_of_all_tasks_together_is_cut_and_counted() {
        let mut capture = Capture::new("abc");
        for task in 1..=1000 {
            for stream in [Stream::Out, Stream::Err] {
                capture.feed(stream, &[b'x'; 20_000]);
                capture.feed(stream, format!("\x01abc:{task}.{task}\x02").as_bytes());
            }
        }
        let taken = capture.take();
        let (kept, cut) = sums(&taken);
        assert_eq!(kept as u64 + cut, 40_000_000);
        assert!(kept <= ALL && kept > ALL - 300 * PIECE, "{kept}");
        // Those of whom nothing was kept are told in one line.
        assert_eq!(taken.iter().filter(|output| output.cut > 0).count(), 2);
        capture.feed(Stream::Out, b"end");
        assert_eq!(sums(&capture.take()), (3, 0));
    }

    #[test]
    fn many_short_pieces_fit_a_frame() {
        let mut capture = Capture::new("abc");
        for mark in 0..1_000_000 {
            capture.feed(Stream::Out, format!("x\x01abc:1000000.{mark}\x02").as_bytes());
        }
        let taken = capture.take();
        let (kept, cut) = sums(&taken);
        assert_eq!(kept as u64 + cut, 1_000_000);
        let length = rustbatch_protocol::encode(&taken).map(|bytes| bytes.len());
        assert!(length.as_ref().is_ok_and(|&length| length <= MAX_PLAIN - INLINE), "{length:?}");
    }

    #[test]
    fn too_much_is_cut_and_counted() {
        let mut capture = Capture::new("abc");
        for _ in 0..10 {
            capture.feed(Stream::Err, &vec![b'x'; 1 << 20]);
        }
        let taken = capture.take();
        let err = taken.iter().find(|o| o.stream == Stream::Err);
        assert_eq!(err.map(|o| (o.bytes.len(), o.cut)), Some((MOST, 9 << 20)));
        assert_eq!(capture.last_words().chars().count(), WIDTH + 1);
    }
}
