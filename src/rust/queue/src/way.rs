//! The way to a server, which may become another's: where that is, and whether it is on its way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustbatch_protocol::bootstrap::Server;
use tokio::sync::watch;

use crate::Error;
use crate::transport::{self, Place};

/// How one server is reached.
#[derive(Debug)]
pub struct Way {
    /// Its address, without its password.
    pub address: String,
    /// What connects to it.
    pub client: redis::Client,
    /// What finds it, where it has a name.
    pub place: Option<Place>,
}

impl Way {
    fn to(server: &Server) -> Result<Arc<Self>, Error> {
        let address = server.address.to_string();
        let (client, place) = transport::open(server)
            .map_err(|e| Error::Unreachable { address: address.clone(), reason: e.to_string() })?;
        Ok(Arc::new(Self { address, client, place }))
    }
}

/// Leads links to a server. A clone leads the same ones.
#[derive(Debug, Clone)]
pub struct Guide {
    way: watch::Sender<Arc<Way>>,
    expected: Arc<Mutex<Option<Instant>>>,
}

impl Guide {
    /// One that leads to `server`. Does not connect.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the address cannot be one.
    pub fn to(server: &Server) -> Result<Self, Error> {
        Ok(Self { way: watch::Sender::new(Way::to(server)?), expected: Arc::default() })
    }

    /// Leads to another server from now on, also those who wait for the one before.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the address cannot be one; then all stays as it is.
    pub fn lead(&self, server: &Server) -> Result<(), Error> {
        self.way.send_replace(Way::to(server)?);
        Ok(())
    }

    /// The way now.
    pub fn way(&self) -> Arc<Way> {
        Arc::clone(&self.way.borrow())
    }

    /// Waits until there is another way than `way`. Cancel-safe.
    pub async fn leaves(&self, way: &Arc<Way>) {
        let mut ways = self.way.subscribe();
        // The sender is this guide's own.
        let _ = ways.wait_for(|now| !Arc::ptr_eq(now, way)).await;
    }

    /// Somebody sees to it that there is a server, and workers, within this time.
    pub fn expect(&self, within: Duration) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) =
            Instant::now().checked_add(within);
    }

    /// Whether that time has not passed.
    pub fn is_expected(&self) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.is_some_and(|until| Instant::now() < until)
    }
}
