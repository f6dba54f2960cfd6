//! Several clients may hold one cluster. One of them keeps it up: it replaces what dies, and follows
//! the size that any of them may change.

use std::time::Duration;

use redis::Pipeline;

use crate::{Client, Error, TTL, ms, script};

/// Who keeps a cluster up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeping {
    /// Whether it is this client.
    pub mine: bool,
    /// How many workers there shall be, at least and at most, where a client has said so.
    pub size: Option<(u32, u32)>,
}

impl Client {
    /// Takes the keeping of the cluster for the time `lease`, or renews it, unless another client has
    /// it. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`crate::Link::call`].
    pub async fn keep(&self, lease: Duration) -> Result<Keeping, Error> {
        let mut pipe = Pipeline::new();
        let call = script::invoke(&mut pipe, &script::KEEP, &self.shared.keys.ring());
        call.arg(self.shared.id.as_str()).arg(ms(lease)).arg(ms(TTL));
        let ((mine, least, most),): ((bool, Option<u32>, Option<u32>),) =
            self.shared.link.call(&pipe).await?;
        Ok(Keeping { mine, size: least.zip(most) })
    }

    /// Tells whoever keeps the cluster how many workers there shall be. It is forgotten when nobody
    /// keeps it for [`TTL`]. Cancel-safe.
    ///
    /// # Errors
    /// Those of [`crate::Link::call`].
    pub async fn resize(&self, least: u32, most: u32) -> Result<(), Error> {
        let size = self.shared.keys.size();
        let mut pipe = Pipeline::new();
        pipe.cmd("HSET").arg(&size).arg("least").arg(least).arg("most").arg(most).ignore();
        pipe.cmd("PEXPIRE").arg(&size).arg(ms(TTL)).ignore();
        self.shared.link.call(&pipe).await
    }
}
