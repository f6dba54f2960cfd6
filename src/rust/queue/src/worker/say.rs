//! What a worker says to a job's client before its chunks end.

use redis::Pipeline;
use rustbatch_protocol::{Binding, BlobRef, JobId, Kind, encode};

use super::WorkerQueue;
use crate::{Error, Leased, TTL, ms, script};

impl WorkerQueue {
    /// Asks the client of `job` for a blob; the answer is a [`Control::Blob`].
    ///
    /// # Errors
    /// Those of [`Link::call`].
    pub async fn need(&self, job: &JobId, blob: &BlobRef) -> Result<(), Error> {
        let name = blob.hash.to_string();
        let place = Binding::new(Kind::Signal, job, &name);
        let frame = self.seal.seal(&place, &encode(&self.id)?)?;
        self.say(job, "n", &name, frame).await
    }

    /// Tells the client what a running task says, at once.
    ///
    /// # Errors
    /// Those of [`Link::call`]; [`Error::Protocol`] when it is longer than a frame may be.
    pub async fn signal(&self, leased: &Leased, said: &[u8]) -> Result<(), Error> {
        let name = leased.name.to_string();
        let place = Binding::new(Kind::Signal, &leased.job, &name);
        let frame = self.seal.seal(&place, said)?;
        self.say(&leased.job, "s", &name, frame).await
    }

    async fn say(
        &self,
        job: &JobId,
        letter: &str,
        name: &str,
        frame: Vec<u8>,
    ) -> Result<(), Error> {
        let mut pipe = Pipeline::new();
        self.invoke(&mut pipe, &script::SAY).arg(job.as_str()).arg(letter).arg(name);
        pipe.arg(frame).arg(ms(TTL)).ignore();
        self.link.call(&pipe).await
    }
}
