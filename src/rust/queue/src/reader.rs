//! Reads a job's events, as they come, over a link of its own.

use std::time::Duration;

use redis::streams::StreamReadReply;
use redis::{FromRedisValue, Pipeline};
use tokio::sync::mpsc;

use crate::{Error, Link, ms};

/// The most events of one reading, and how many bytes they should be at most: on a slow line an
/// answer has to arrive before it is given up.
const COUNT: usize = 100;
const VOLUME: usize = 4 << 20;

/// One event.
#[derive(Debug)]
pub struct Entry {
    /// Its id in the stream.
    pub id: String,
    /// What it is: `o`utcome, `n`eed, `r`ejected payload, `s`ignal; `z` only wakes.
    pub letter: String,
    /// The chunk or blob it is about.
    pub name: String,
    /// The sealed content.
    pub payload: Vec<u8>,
}

/// What the reader found.
#[derive(Debug)]
pub enum Reading {
    /// Events, in order. After a reconnect those that were not trimmed come again.
    Entries(Vec<Entry>),
    /// The connection was made again: Redis may have forgotten what it knew.
    Reconnected,
    /// Redis stays away.
    Failed(Error),
}

/// Reads the stream `key` until nobody listens, which the next event or time-out shows, or until
/// Redis stays away. Gives the link back where it is fit for the next job.
pub async fn read(
    link: Link,
    key: String,
    wait: Duration,
    found: mpsc::Sender<Reading>,
) -> Option<Link> {
    let mut last = "0".to_owned();
    let mut generation = link.generation();
    let mut largest = 1;
    loop {
        let mut pipe = Pipeline::new();
        let count = (VOLUME / largest).clamp(1, COUNT);
        pipe.cmd("XREAD").arg("COUNT").arg(count).arg("BLOCK").arg(ms(wait));
        pipe.arg("STREAMS").arg(&key).arg(&last);
        let answer = link.call_over::<(Option<StreamReadReply>,)>(generation, &pipe).await;
        let entries = match answer {
            Ok(Some((reply,))) => reply.map(entries).unwrap_or_default(),
            Ok(None) => {
                let first = std::mem::replace(&mut generation, link.generation()) == 0;
                if !first {
                    // What Redis said before may be gone with it: read from the start, look again.
                    last = "0".to_owned();
                    found.send(Reading::Reconnected).await.ok()?;
                }
                continue;
            }
            Err(error) => {
                let _ = found.send(Reading::Failed(error)).await;
                return None;
            }
        };
        largest = entries.iter().map(|entry| entry.payload.len()).fold(largest, usize::max);
        let Some(newest) = entries.last() else {
            if found.is_closed() {
                return Some(link);
            }
            continue;
        };
        last.clone_from(&newest.id);
        // Nobody listens any more, but the link is sound.
        if found.send(Reading::Entries(entries)).await.is_err() {
            return Some(link);
        }
    }
}

fn entries(reply: StreamReadReply) -> Vec<Entry> {
    let all = reply.keys.into_iter().flat_map(|stream| stream.ids);
    all.map(|mut event| {
        // The fields of an event are its (k)ind, (n)ame and (p)ayload.
        let mut field = |name: &str| event.map.remove(name);
        let text = |value: Option<redis::Value>| {
            value.and_then(|v| String::from_redis_value(v).ok()).unwrap_or_default()
        };
        Entry {
            letter: text(field("k")),
            name: text(field("n")),
            payload: field("p").and_then(|v| Vec::from_redis_value(v).ok()).unwrap_or_default(),
            id: event.id,
        }
    })
    .collect()
}

/// The id after `id` in a stream: ids are `<ms>-<sequence>`.
pub fn after(id: &str) -> String {
    match id.split_once('-').and_then(|(ms, n)| Some((ms, n.parse::<u64>().ok()?))) {
        Some((ms, n)) => format!("{ms}-{}", n.saturating_add(1)),
        None => id.to_owned(),
    }
}
