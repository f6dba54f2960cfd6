//! Reads a job's events, as they come, over a link of its own.

use redis::streams::StreamReadReply;
use redis::{FromRedisValue, Pipeline};
use tokio::sync::mpsc;

use crate::{BEAT, Error, Link, ms};

/// The most events of one reading.
const COUNT: usize = 100;

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
pub async fn read(link: Link, key: String, found: mpsc::Sender<Reading>) -> Option<Link> {
    let mut last = "0".to_owned();
    let mut generation = None;
    loop {
        let mut pipe = Pipeline::new();
        pipe.cmd("XREAD").arg("COUNT").arg(COUNT).arg("BLOCK").arg(ms(BEAT));
        pipe.arg("STREAMS").arg(&key).arg(&last);
        let answer = link.call::<(Option<StreamReadReply>,)>(&pipe).await;
        let entries = match answer {
            Ok((reply,)) => reply.map(entries).unwrap_or_default(),
            Err(error) => {
                let _ = found.send(Reading::Failed(error)).await;
                return None;
            }
        };
        let now = link.generation();
        if generation.is_some_and(|before| before != now) {
            // What Redis said before may be gone with it: read from the start, and look again.
            last = "0".to_owned();
            generation = Some(now);
            found.send(Reading::Reconnected).await.ok()?;
            continue;
        }
        generation = Some(now);
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
