//! What runs instances, one file for each.

pub mod docker;
