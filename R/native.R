# Generated from src/rust/bridge by tools/document. Do not edit by hand.

# Fails when a cluster can't run a loop: it has been stopped, is lost, or is another process'.
cluster_check <- function(cluster) {
  unwrap(.Call(wrap__cluster_check, cluster))
}

# Stops a cluster, and waits until that is done; one that is stopped, or another process', is left
# alone. With `leave` it is only forgotten by this process. After an interrupt it goes on, and
# another call waits for the same.
cluster_stop <- function(cluster, leave) {
  unwrap(.Call(wrap__cluster_stop, cluster, leave))
}

# What there is to say of a cluster. Asks nobody.
cluster_describe <- function(cluster) {
  unwrap(.Call(wrap__cluster_describe, cluster))
}

# Why a cluster can't be kept up, where only the user can mend that; else `NULL`. Asks nobody.
cluster_trouble <- function(cluster) {
  unwrap(.Call(wrap__cluster_trouble, cluster))
}

# Takes the credentials of a `credentials.json`, or those in a list; with neither, what clouds find
# themselves. They are used from now on if AWS takes them. Returns whom AWS takes them for, and the
# region, empty where none is named.
credentials_set <- function(file, fields) {
  unwrap(.Call(wrap__credentials_set, file, fields))
}

# Sees to it that a large plain object is in Redis. Returns its blob as text, or `NULL` when the
# object is small, or not plain.
export_object <- function(cluster, value) {
  unwrap(.Call(wrap__export_object, cluster, value))
}

# Puts an export that Redis has lost there again, and tells the worker that asked for it.
export_again <- function(cluster, value, worker) {
  unwrap(.Call(wrap__export_again, cluster, value, worker))
}

# From now on there shall be from `least` to `most` workers.
fleet_resize <- function(cluster, least, most) {
  unwrap(.Call(wrap__fleet_resize, cluster, least, most))
}

# Looks at the cluster now, so that what is known of it is new.
fleet_look <- function(cluster) {
  unwrap(.Call(wrap__fleet_look, cluster))
}

# The instances: their names, roles, states, and what there is to say of each.
fleet_instances <- function(cluster) {
  unwrap(.Call(wrap__fleet_instances, cluster))
}

# The last `tail` lines that an instance wrote.
fleet_logs <- function(cluster, instance, tail) {
  unwrap(.Call(wrap__fleet_logs, cluster, instance, tail))
}

# The commands that open a shell in an instance, each a text vector of its words.
fleet_shell <- function(cluster, instance) {
  unwrap(.Call(wrap__fleet_shell, cluster, instance))
}

# Starts the server of a cluster, or stops it. After an interrupt that goes on, and another call
# waits for it.
fleet_serve <- function(cluster, start) {
  unwrap(.Call(wrap__fleet_serve, cluster, start))
}

# Whether the server of a cluster runs.
fleet_serves <- function(cluster) {
  unwrap(.Call(wrap__fleet_serves, cluster))
}

# The clusters of which something is left at the provider that is `wanted`: their ids, when they
# were made, in seconds since 1970, and how many instances they have.
clusters_find <- function(wanted, programs) {
  unwrap(.Call(wrap__clusters_find, wanted, programs))
}

# Removes what is left of these clusters. Returns what was removed, and what could not be.
clusters_remove <- function(ids, wanted, programs) {
  unwrap(.Call(wrap__clusters_remove, ids, wanted, programs))
}

# Begins to make an image upon `base`. `packages` says what is installed in it, `worker` is the
# executable, `tag` the image's name or `NULL`, `context` that of Docker or `NULL`; with `push` it
# is pushed. Returns a pointer.
image_build <- function(base, packages, worker, tag, context, push) {
  unwrap(.Call(wrap__image_build, base, packages, worker, tag, context, push))
}

# Waits for what is said of an image that is being made: the next lines, and, as `name`, what it is
# called when it is done.
image_wait <- function(build) {
  unwrap(.Call(wrap__image_wait, build))
}

# Ends the making of an image; one that is done is left alone.
image_cancel <- function(build) {
  unwrap(.Call(wrap__image_cancel, build))
}

# Opens a job. `parts` are the list that the evaluator loads first, and the objects that it loads
# when the packages are there; `calling` is the environment that goes by name in them, `exports` the
# blobs that travel beside them, as text, `wanted` the packages that a worker which may installs
# where they are missing (CRAN's, GitHub's, Bioconductor's, then the client's libraries) or `NULL`,
# `seed` the state of the first random stream or `NULL`, `sizes` how many tasks there will be, `Inf`
# where that is not known, and the user's own size of chunks, where there is one. Returns a pointer.
job_open <- function(cluster, parts, calling, exports, wanted, seed, sizes) {
  unwrap(.Call(wrap__job_open, cluster, parts, calling, exports, wanted, seed, sizes))
}

# How many tasks the next chunk should have: 0 while enough chunks are out. `left` is how many tasks
# are not yet sent, or `Inf` where that is not known.
job_room <- function(job, left) {
  unwrap(.Call(wrap__job_room, job, left))
}

# Sends the chunk of `n` tasks that begins with task `first`.
job_push <- function(job, first, n, arguments, calling) {
  unwrap(.Call(wrap__job_push, job, first, n, arguments, calling))
}

# Waits for outcomes; returns those that have come, at least one, as a list.
job_wait <- function(cluster, job) {
  unwrap(.Call(wrap__job_wait, cluster, job))
}

# Ends a job: what is queued is removed, what runs is interrupted; with `wait`, Redis knows when
# this returns. One that has ended is left alone.
job_close <- function(job, wait) {
  unwrap(.Call(wrap__job_close, job, wait))
}

# Waits, as R ends, until the clusters that end with it are gone, for so many seconds. Whether they
# are.
package_farewell <- function(seconds) {
  unwrap(.Call(wrap__package_farewell, seconds))
}

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

# Begins to start the cluster that is `wanted`, after everything that can be checked without asking
# anybody. `programs` are the paths of `rustbatch-worker` and of R, and R's version. Returns a
# pointer for `cluster_news()`.
cluster_begin <- function(wanted, programs) {
  unwrap(.Call(wrap__cluster_begin, wanted, programs))
}

# Begins to look for the cluster that is called `name`, or has this id, at the provider that is
# `wanted`. With `stop` it is stopped when R ends. Returns a pointer for `cluster_news()`.
cluster_attach <- function(name, wanted, programs, stop) {
  unwrap(.Call(wrap__cluster_attach, name, wanted, programs, stop))
}

# Waits for a moment for what there is to say of a start: lines, none perhaps; `NULL` when the
# cluster can be taken.
cluster_news <- function(begun) {
  unwrap(.Call(wrap__cluster_news, begun))
}

# The cluster that has started.
cluster_take <- function(begun) {
  unwrap(.Call(wrap__cluster_take, begun))
}

# Gives up a start, or a search: what was started is taken down in the background. One whose cluster
# has been taken is left alone.
cluster_cancel <- function(begun) {
  unwrap(.Call(wrap__cluster_cancel, begun))
}

# The address of the Redis that a cluster would use, where others can see what is said to it; else
# `NULL`. Asks nobody.
cluster_exposed <- function(wanted) {
  unwrap(.Call(wrap__cluster_exposed, wanted))
}
