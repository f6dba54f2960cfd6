//! What can go wrong between us and Redis.

use rustbatch_protocol as protocol;

/// A failure of the queue. The text names the thing and the way out.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing answers at the address, or the connection was lost for good.
    #[error(
        "Can't reach Redis at `{address}`: {reason}\n* Is the server running, and may this machine reach it?"
    )]
    Unreachable {
        /// The server's address, without its password.
        address: String,
        /// What the last attempt said.
        reason: String,
    },
    /// Something answers, but it is not Redis, or not one that can serve as a queue.
    #[error("What answers at `{address}` is not a Redis server: {reason}")]
    Foreign {
        /// The server's address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The server is too old.
    #[error(
        "Redis at `{address}` is version {found}; rustBatch needs 6.2 or newer (or any Valkey)"
    )]
    Version {
        /// The server's address.
        address: String,
        /// Its version.
        found: String,
    },
    /// User or password are wrong, or missing, or the user may not do what is needed.
    #[error("Redis at `{address}` refuses the user or password: {reason}")]
    Credentials {
        /// The server's address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The server can't prove that it is the one that is meant.
    #[error(
        "Redis at `{address}` can't be trusted: {reason}\n* Nothing was sent to it. Is this the right server, and the clock of this machine right?"
    )]
    Untrusted {
        /// The server's address.
        address: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// A setting of the server would lose data.
    #[error("Redis at `{address}` has `{setting} {found}`; {advice}")]
    Setting {
        /// The server's address.
        address: String,
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it should be.
        advice: &'static str,
    },
    /// Redis stayed away while a job was open.
    #[error(
        "Redis at `{address}` has not answered for {seconds} s: {reason}\n* {finished} tasks had finished, {open} had not."
    )]
    Away {
        /// The server's address.
        address: String,
        /// What the last attempt said.
        reason: String,
        /// For how long, in seconds.
        seconds: u64,
        /// How many tasks had come back.
        finished: u64,
        /// How many tasks had not: of all, where their number is known, else of those sent.
        open: u64,
    },
    /// The server is out of memory.
    #[error(
        "Redis at `{address}` is out of memory\n* Raise its `maxmemory`, or send smaller arguments and results."
    )]
    Full {
        /// The server's address.
        address: String,
    },
    /// Something that the server can't hold, whatever else goes.
    #[error(
        "{} are too many for Redis at `{address}`, whose `maxmemory` is {}\n* Raise its `maxmemory`, or send less at a time: fewer tasks in a chunk, or the name of a file in place of what is in it.",
        bytes(*size), bytes(*limit)
    )]
    TooLarge {
        /// The server's address.
        address: String,
        /// How large it is, in bytes.
        size: u64,
        /// The server's limit of memory, in bytes.
        limit: u64,
    },
    /// No live worker, and none starting.
    #[error("No worker has been alive for {seconds} s, so {open} tasks can't be finished")]
    NoWorkers {
        /// For how long, in seconds.
        seconds: u64,
        /// How many tasks had come back.
        finished: u64,
        /// How many tasks had not: of all, where their number is known, else of those sent.
        open: u64,
    },
    /// A blob that is needed is not in Redis.
    #[error("A blob of {0} bytes is no longer in Redis")]
    BlobGone(u64),
    /// Redis refused a command in a way that waiting does not mend.
    #[error("Redis at `{address}` refused a command: {reason}")]
    Refused {
        /// The server's address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// Bytes from Redis are not what they should be.
    #[error(transparent)]
    Protocol(#[from] protocol::Error),
    /// The job or the client has been closed.
    #[error("The job has been closed")]
    Closed,
}

impl Error {
    /// The kind of condition that R makes of it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Away { .. } => "unreachable",
            Self::Foreign { .. } => "foreign",
            Self::Version { .. } => "version",
            Self::Credentials { .. } => "credentials",
            Self::Untrusted { .. } => "untrusted",
            Self::Setting { .. } => "setting",
            Self::NoWorkers { .. } | Self::BlobGone(_) => "lost",
            Self::TooLarge { .. } => "too_large",
            Self::Refused { .. } | Self::Full { .. } => "refused",
            Self::Protocol(_) => "corrupt",
            Self::Closed => "closed",
        }
    }
}

/// A number of bytes in words: "1.5 MiB".
fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let digits = usize::from(value < 10.0 && unit > 0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        let told = [0, 1023, 1536, 64 << 20, 5 << 40].map(bytes);
        assert_eq!(told, ["0 bytes", "1023 bytes", "1.5 KiB", "64 MiB", "5120 GiB"]);
    }
}
