//! The life line: standard input, which ends with the process that started this one.

use std::io;

use tokio::sync::oneshot;

/// Tells when standard input ends.
#[derive(Debug)]
pub struct Lifeline(Option<oneshot::Receiver<()>>);

impl Lifeline {
    /// Listens to standard input where `held`; else it never ends. A thread reads it, because it need
    /// not be a pipe; nobody waits for that thread, it ends with the process.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(held: bool) -> io::Result<Self> {
        if !held {
            return Ok(Self(None));
        }
        let (tell, ended) = oneshot::channel();
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = tell.send(());
        })?;
        Ok(Self(Some(ended)))
    }

    /// Waits for the end; not to be called again after it. Cancel-safe.
    pub async fn ended(&mut self) {
        match &mut self.0 {
            Some(ended) => drop(ended.await),
            None => std::future::pending().await,
        }
    }
}
