//! Control messages: what a client tells one worker.

use serde::{Deserialize, Serialize};

use crate::{Binding, BlobHash, ClientId, Error, JobId, Seal, WorkerId, decode, encode};

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// The job is no more: interrupt what runs of it and forget it.
    Drop(JobId),
    /// The blob that the worker asked for is in Redis.
    Blob(BlobHash),
    /// Lease no more, finish, exit.
    Drain,
}

/// A control message as it travels: who sent it, its number, and the sealed content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlMessage {
    /// The sender.
    pub client: ClientId,
    /// Grows with each message of that sender to that worker: a repeated one is refused.
    pub counter: u64,
    #[serde(with = "serde_bytes")]
    frame: Vec<u8>,
}

impl ControlMessage {
    /// Seals `control` as message number `counter` of `client` to `worker`, ready for the wire.
    ///
    /// # Errors
    /// Those of [`Seal::seal`].
    pub fn seal(
        seal: &Seal,
        client: &ClientId,
        worker: &WorkerId,
        counter: u64,
        control: &Control,
    ) -> Result<Vec<u8>, Error> {
        let name = place(client, worker);
        let frame = seal.seal(&Binding::control(&name, counter), &encode(control)?)?;
        encode(&Self { client: client.clone(), counter, frame })
    }

    /// Reads a message; what it claims is proved only by [`ControlMessage::open`].
    ///
    /// # Errors
    /// [`Error::Decode`] when it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }

    /// Opens a message to `worker`.
    ///
    /// # Errors
    /// Those of [`Seal::open`], and [`Error::Decode`].
    pub fn open(self, seal: &Seal, worker: &WorkerId) -> Result<Control, Error> {
        let name = place(&self.client, worker);
        decode(&seal.open(&Binding::control(&name, self.counter), self.frame)?)
    }
}

fn place(client: &ClientId, worker: &WorkerId) -> String {
    format!("{client}/{worker}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterKey;

    #[test]
    fn a_message_is_bound_to_sender_receiver_and_number() -> Result<(), Error> {
        let seal = Seal::new("test".parse()?, ClusterKey::random()?)?;
        let (client, worker) = (ClientId::random()?, WorkerId::random()?);
        let control = Control::Drop(JobId::random()?);
        let bytes = ControlMessage::seal(&seal, &client, &worker, 7, &control)?;
        let message = ControlMessage::read(&bytes)?;
        assert_eq!(message.clone().open(&seal, &worker)?, control);
        assert!(message.clone().open(&seal, &WorkerId::random()?).is_err());
        let renumbered = ControlMessage { counter: 8, ..message.clone() };
        assert!(renumbered.open(&seal, &worker).is_err());
        let renamed = ControlMessage { client: ClientId::random()?, ..message };
        assert!(renamed.open(&seal, &worker).is_err());
        Ok(())
    }
}
