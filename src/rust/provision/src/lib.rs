//! What a cluster is made of, and how it comes to be: `cluster.json`, the private Redis, and what
//! runs the workers.
//!
//! Knows nothing of R and speaks to no queue: it says where Redis is and starts the processes. The
//! order of a start is the caller's: [`local::prepare`], then its checks of the server, then
//! [`local::Site::launch`].

#![cfg_attr(test, allow(clippy::expect_used))]

pub mod acl;
mod authority;
pub mod error;
mod family;
mod field;
mod fork;
mod keeper;
pub mod lifecycle;
pub mod local;
pub mod network;
mod process;
pub mod provider;
mod redis_url;
pub mod server;
pub mod spec;

pub use error::Error;
pub use local::{Access, Programs, Running, Site, prepare};
pub use network::{NetworkServer, Plan};
pub use spec::{Provider, Spec};
