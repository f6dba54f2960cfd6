//! The Lua scripts, each with the prelude before it, and how they are called.

use std::sync::LazyLock;

use redis::{Pipeline, Script, ToRedisArgs};

macro_rules! scripts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(
            #[doc = concat!("`scripts/", $file, "`, where its arguments and answer are described.")]
            pub static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(include_str!("scripts/prelude.lua"), include_str!(concat!("scripts/", $file))))
            });
        )*
        /// Every script, to load them together.
        #[must_use]
        pub fn all() -> Vec<&'static Script> {
            vec![$(&$name),*]
        }

        /// The sources of [`all`], in the same order.
        const SOURCES: &[&str] = &[$(
            concat!(include_str!("scripts/prelude.lua"), include_str!(concat!("scripts/", $file)))
        ),*];
    };
}

scripts! {
    PUBLISH = "publish.lua",
    AUDIT = "audit.lua",
    LEASE = "lease.lua",
    SETTLE = "settle.lua",
    CRASH = "crash.lua",
    RELEASE = "release.lua",
    REJECT = "reject.lua",
    BEAT = "beat.lua",
    SAY = "say.lua",
    DROP = "drop.lua",
    SWEEP = "sweep.lua",
    ROLL = "roll.lua",
    BLOB = "blob.lua",
    LOAD = "load.lua",
    KEEP = "keep.lua",
}

/// A pipeline that loads every script.
#[must_use]
pub fn load_all() -> Pipeline {
    let mut pipe = Pipeline::new();
    for source in SOURCES {
        pipe.cmd("SCRIPT").arg("LOAD").arg(*source).ignore();
    }
    pipe
}

/// Adds a call of `script` to a pipeline; `ring` is the one declared key.
pub fn invoke<'p>(pipe: &'p mut Pipeline, script: &Script, ring: &str) -> &'p mut Pipeline {
    pipe.cmd("EVALSHA").arg(script.get_hash()).arg(1).arg(ring)
}

/// Adds arguments to the call added last.
pub fn args<T: ToRedisArgs>(pipe: &mut Pipeline, values: impl IntoIterator<Item = T>) {
    for value in values {
        pipe.arg(value);
    }
}
