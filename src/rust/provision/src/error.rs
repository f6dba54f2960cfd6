//! What can go wrong before a cluster stands, in words for the person who asked for it.
//!
//! The first line says what is wrong, with the value found; each line that begins with `*` says
//! what helps. No text holds a password.

/// Why a cluster can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration file that can't be read as text.
    #[error("Can't read the configuration file `{file}`: {reason}\n* {way}")]
    File {
        /// The path, as it was given.
        file: String,
        /// What the system said.
        reason: String,
        /// What helps.
        way: String,
    },

    /// A text that is not a JSON object.
    #[error("Can't read `{file}` as JSON: {reason}\n* {way}")]
    Json {
        /// The file, or the call whose arguments these are.
        file: String,
        /// What was found, with line and column.
        reason: String,
        /// What helps.
        way: String,
    },

    /// A field that nothing reads.
    #[error("Unknown field in `{file}`: `{field}`{}\n* Known fields are {allowed}.", meant(*.nearest))]
    UnknownField {
        /// The file, or the call whose arguments these are.
        file: String,
        /// The field.
        field: String,
        /// The known field that looks most like it.
        nearest: Option<&'static str>,
        /// The known fields.
        allowed: String,
    },

    /// A field that has to be there.
    #[error("Missing field in `{file}`: `{field}`\n* It is {allowed}.")]
    MissingField {
        /// The file, or the call whose arguments these are.
        file: String,
        /// The field.
        field: &'static str,
        /// What may stand there.
        allowed: String,
    },

    /// A field whose value can't be used.
    #[error("Can't use `{field}` of `{file}`: {found}\n* It is {allowed}.")]
    Value {
        /// The file, or the call whose arguments these are.
        file: String,
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: String,
    },

    /// A provider that there is not.
    #[error("Unknown provider in `{file}`: {found}\n* It is {allowed}.")]
    Provider {
        /// The file, or the call whose arguments these are.
        file: String,
        /// What stands there.
        found: String,
        /// The providers.
        allowed: String,
    },

    /// There is no Redis on this machine that could be started.
    #[error(
        "Can't start a private Redis on this machine: {reason}\n\
         * Install it, on Debian or Ubuntu: `sudo apt install redis-server`\n\
         * On macOS: `brew install redis`\n\
         * With conda: `conda install -c conda-forge redis-server`\n\
         * Or use one that runs already: `makeCluster(redis = \"redis://host:6379\")`"
    )]
    RedisMissing {
        /// What was found instead.
        reason: String,
    },

    /// A process that can't be started, or ended at once.
    #[error("Can't start {what}: {reason}")]
    Start {
        /// The process, in words.
        what: &'static str,
        /// What the system or the process said.
        reason: String,
    },

    /// A process that does not answer in time.
    #[error("Gave up waiting for {what} after {seconds} s{}", lines(.said))]
    TimedOut {
        /// The process, in words.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// The last lines of its output.
        said: String,
    },

    /// A provider that refuses, or a thing that it does not have.
    #[error("Can't {what}: {reason}{}", star(.way))]
    Refused {
        /// What could not be done, in words: "start the container rb-1".
        what: String,
        /// What the provider said.
        reason: String,
        /// What helps; empty where nobody knows.
        way: String,
    },

    /// A package that can't be installed.
    #[error("Can't {what}: {reason}{}", lines(.log))]
    Package {
        /// What could not be done, in words.
        what: String,
        /// The package.
        package: String,
        /// Why, in words.
        reason: String,
        /// The last lines of what was said.
        log: String,
    },

    /// A provider that can't do it now, and may later: throttled, without capacity, not yet agreed
    /// with itself. The lifecycle tries again.
    #[error("Can't {what} now: {reason}\n* Try again later.")]
    Busy {
        /// What could not be done, in words.
        what: String,
        /// What the provider said.
        reason: String,
    },

    /// Instances that would cost more than they may.
    #[error("Can't start what is asked for: {reason}\n* {way}")]
    Budget {
        /// What they cost, and may cost.
        reason: String,
        /// What helps.
        way: String,
    },

    /// A cloud that does not know who asks, or does not take them.
    #[error("Can't {what}: {reason}\n* {way}")]
    Credentials {
        /// What could not be done, in words.
        what: String,
        /// What the cloud said.
        reason: String,
        /// What helps.
        way: String,
    },

    /// A start that failed, with the cause.
    #[error("The cluster did not start: {0}")]
    NotStarted(String),

    /// Workers that did not join.
    #[error("{} joined within {seconds} s{}", few(*.joined), starred(.each))]
    NotJoined {
        /// How long they were waited for.
        seconds: u64,
        /// How many did.
        joined: usize,
        /// What each of them did, in words.
        each: Vec<String>,
    },

    /// A start that nobody waits for any more.
    #[error("The start of the cluster was interrupted")]
    Cancelled,

    /// A cluster that there is not, or of which too little is known.
    #[error(
        "Can't find the cluster `{name}`: {reason}\n* `getClusterList()`, given the same provider, names \
         those that there are."
    )]
    NoCluster {
        /// What was asked for.
        name: String,
        /// What was found instead.
        reason: String,
    },

    /// A cluster that another version has started.
    #[error(
        "The cluster `{cluster}` was started by version {theirs} of rustBatch, this is {ours}\n\
         * Use it with version {theirs}, or take it down: `cleanupClusters(cluster = \"{cluster}\")`, \
         given the same provider."
    )]
    Version {
        /// The cluster.
        cluster: String,
        /// The version that has started it.
        theirs: String,
        /// The version that this is.
        ours: &'static str,
    },

    /// A cluster whose record can't be read.
    #[error(
        "What is kept of the cluster `{cluster}` can't be read\n\
         * Take it down: `cleanupClusters(cluster = \"{cluster}\")`, given the same provider."
    )]
    Damaged {
        /// The cluster.
        cluster: String,
    },

    /// A cluster that can't be kept up.
    #[error("The cluster is lost: {0}")]
    Lost(String),

    /// A server that runs and can't be reached, with what its provider says of the way to it.
    #[error("{error}\n* {hint}")]
    Unreached {
        /// Why.
        error: Box<Error>,
        /// What to look at.
        hint: String,
    },

    /// A cluster whose remains could not all be removed.
    #[error("{error}\n* Not all that was begun could be taken down: {left}")]
    Left {
        /// Why it was taken down.
        error: Box<Error>,
        /// What is left, and why.
        left: String,
    },

    /// What Redis said.
    #[error(transparent)]
    Queue(#[from] rustbatch_queue::Error),

    /// Docker can't be used, or does not do what it is asked to.
    #[error(transparent)]
    Docker(#[from] crate::docker::Trouble),

    /// Something of ours is broken.
    #[error("Can't make a cluster: {0}\n* This is a defect of rustBatch, please report it.")]
    Internal(String),
}

impl Error {
    /// With `hint`, where it is that a server can't be reached.
    #[must_use]
    pub(crate) fn hinted(self, hint: Option<String>) -> Self {
        let unreached = matches!(
            self,
            Self::TimedOut { .. } | Self::Queue(rustbatch_queue::Error::Unreachable { .. })
        );
        match hint.filter(|_| unreached) {
            Some(hint) => Self::Unreached { error: Box::new(self), hint },
            None => self,
        }
    }

    /// The kind of the error, the last part of its R class `rustBatch_error_<kind>`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Value { field: "workers" | "slots", .. } => "workers",
            Self::Provider { .. } => "provider",
            Self::File { .. }
            | Self::Json { .. }
            | Self::UnknownField { .. }
            | Self::MissingField { .. }
            | Self::Value { .. } => "config",
            Self::RedisMissing { .. } => "redis_missing",
            Self::Package { .. } => "package",
            Self::Start { .. } | Self::Refused { .. } | Self::Busy { .. } | Self::NotStarted(_) => {
                "provision"
            }
            Self::TimedOut { .. } | Self::NotJoined { .. } => "timed_out",
            Self::Credentials { .. } => "credentials",
            Self::Budget { .. } => "budget",
            Self::Cancelled => "cancelled",
            Self::NoCluster { .. } | Self::Damaged { .. } => "no_cluster",
            Self::Version { .. } => "version",
            Self::Lost(_) => "lost",
            Self::Left { error, .. } | Self::Unreached { error, .. } => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Docker(trouble) => trouble.kind(),
            Self::Internal(_) => "internal",
        }
    }

    /// The parts of the error by name, for the fields of its R condition.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let fields: Vec<(&'static str, &str)> = match self {
            Self::File { file, reason, .. } | Self::Json { file, reason, .. } => {
                vec![("file", file), ("found", reason)]
            }
            Self::UnknownField { file, field, allowed, .. } => {
                vec![("file", file), ("field", field), ("allowed", allowed)]
            }
            Self::MissingField { file, field, allowed } => {
                vec![("file", file), ("field", field), ("allowed", allowed)]
            }
            Self::Value { file, field, found, allowed } => {
                vec![("file", file), ("field", field), ("found", found), ("allowed", allowed)]
            }
            Self::Provider { file, found, allowed } => {
                vec![("file", file), ("field", "provider"), ("found", found), ("allowed", allowed)]
            }
            Self::RedisMissing { reason }
            | Self::Start { reason, .. }
            | Self::Refused { reason, .. }
            | Self::Credentials { reason, .. }
            | Self::Budget { reason, .. }
            | Self::Busy { reason, .. } => vec![("found", reason)],
            Self::Package { package, reason, log, .. } => {
                vec![("package", package), ("found", reason), ("log", log)]
            }
            Self::NotJoined { seconds, each, .. } => {
                return vec![("seconds", seconds.to_string()), ("found", each.join("\n"))];
            }
            Self::Unreached { error, .. } => return error.fields(),
            Self::Left { error, left } => {
                let mut fields = error.fields();
                fields.push(("left", left.clone()));
                return fields;
            }
            Self::TimedOut { seconds, said, .. } => {
                return vec![("seconds", seconds.to_string()), ("found", said.clone())];
            }
            Self::NoCluster { name, reason } => vec![("name", name), ("found", reason)],
            Self::Version { cluster, theirs, ours } => {
                vec![("name", cluster), ("found", theirs), ("allowed", ours)]
            }
            Self::Damaged { cluster } => vec![("name", cluster)],
            Self::NotStarted(_)
            | Self::Cancelled
            | Self::Lost(_)
            | Self::Queue(_)
            | Self::Internal(_) => Vec::new(),
            Self::Docker(trouble) => return vec![("found", trouble.found())],
        };
        fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    }
}

impl From<rustbatch_protocol::Error> for Error {
    fn from(error: rustbatch_protocol::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |field| format!("\n* Did you mean `{field}`?"))
}

fn star(way: &str) -> String {
    if way.is_empty() { String::new() } else { format!("\n* {way}") }
}

fn few(joined: usize) -> String {
    match joined {
        0 => "No worker".into(),
        1 => "Only 1 worker".into(),
        n => format!("Only {n} workers"),
    }
}

fn starred(each: &[String]) -> String {
    each.iter().map(|line| format!("\n* {line}")).collect()
}

fn lines(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(":\n{said}") }
}
