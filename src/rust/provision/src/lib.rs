//! What a cluster is made of, and how it comes to be: `cluster.json`, the private Redis, and what
//! runs the workers.
//!
//! Knows nothing of R. [`lifecycle::start`] is the way in: what is done when stands there, and what
//! there is to do in a [`provider::Provider`].

#![cfg_attr(test, allow(clippy::expect_used))]

pub mod acl;
mod authority;
#[cfg(feature = "ecs")]
pub mod aws;
pub mod credentials;
pub mod docker;
pub mod error;
pub mod executable;
mod field;
mod fork;
pub mod image;
pub mod lifecycle;
pub mod network;
mod process;
pub mod provider;
pub mod providers;
mod redis_url;
pub mod server;
pub mod spec;

pub use credentials::Credentials;
pub use docker::Docker;
pub use error::Error;
pub use network::{NetworkServer, Plan};
pub use providers::{Local, Place, Programs};
pub use spec::Spec;
