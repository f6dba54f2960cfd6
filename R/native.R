# Generated from src/rust/bridge by tools/document. Do not edit by hand.

# Stops the background threads.
package_unload <- function() {
  unwrap(.Call(wrap__package_unload))
}

# Fails with an error of the kind `task`, with two fields.
probe_fail <- function(message) {
  unwrap(.Call(wrap__probe_fail, message))
}

# Panics.
probe_panic <- function(message) {
  unwrap(.Call(wrap__probe_panic, message))
}

# Panics on a background thread.
probe_panic_behind <- function() {
  unwrap(.Call(wrap__probe_panic_behind))
}

# Calls an R function below a Rust frame that has something to drop; its value comes in a list.
probe_call <- function(action) {
  unwrap(.Call(wrap__probe_call, action))
}

# How many witnesses were dropped so far.
probe_dropped <- function() {
  unwrap(.Call(wrap__probe_dropped))
}

# The serialized value; `environment`, if it is one, goes by name.
probe_serialize <- function(value, environment) {
  unwrap(.Call(wrap__probe_serialize, value, environment))
}

# What the bytes hold, in a list.
probe_unserialize <- function(bytes) {
  unwrap(.Call(wrap__probe_unserialize, bytes))
}

# Strings there and back again.
probe_texts <- function(texts) {
  unwrap(.Call(wrap__probe_texts, texts))
}

# Waits on the background threads, with a witness on either side.
probe_wait <- function(seconds) {
  unwrap(.Call(wrap__probe_wait, seconds))
}

# Has this process started its background threads?
probe_started <- function() {
  unwrap(.Call(wrap__probe_started))
}

# An external pointer to a value that counts its end.
probe_pointer <- function() {
  unwrap(.Call(wrap__probe_pointer))
}

# Uses such a pointer: fails in a forked child of the process that made it.
probe_pointed <- function(pointer) {
  unwrap(.Call(wrap__probe_pointed, pointer))
}
