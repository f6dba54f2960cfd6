#' Start a cluster
#'
#' Starts the R processes that [foreach::%dopar%] will use once the cluster is
#' registered with [registerDoRustBatch()], and the Redis that queues their
#' work. Whatever can be wrong is checked before anything is started; if a step
#' fails, or the start is interrupted, what was begun is taken down. R processes
#' that die are started again, and so are what runs them and the Redis, up to
#' five times within a minute. While it waits, a `message()` says what the workers
#' are doing.
#'
#' This function stands before [parallel::makeCluster()]: with `type`, or with
#' several host names, it hands its arguments on to that one, so scripts that
#' mean `parallel`'s clusters go on working.
#'
#' @param spec What to start: nothing (as many R processes as the machine has
#'   processors); their number, from 1 to 1024; the path of a `cluster.json`; a
#'   cluster in containers, from [dockerCluster()], or on AWS, from [ecsCluster()];
#'   or a list with the fields of a `cluster.json`.
#' @param ... Further fields of a `cluster.json`, by name: `provider` (text,
#'   `"local"`, `"docker"` or `"ecs"`), `name` (text: letters, digits, `-` and `_`),
#'   `workers` (number of workers; in containers also `c(min = 2, max = 10)`),
#'   `slots` (R processes for each worker, 1 unless given), `rCommand` (path of
#'   the R to run), and those of [dockerCluster()] and [ecsCluster()].
#' @param type The type of a cluster of package `parallel`, such as `"PSOCK"`.
#' @param redis The URL of your own Redis, `"redis://host:6379"` or
#'   `"rediss://user:password@host:6380"` (TLS, with a certificate from an
#'   authority that browsers trust). Without it the cluster has a private one,
#'   started from the `redis-server` or `valkey-server` on the `PATH`, or in a
#'   container.
#' @return A cluster. It stops when it is given to [stopCluster()], when nothing
#'   refers to it any more, and when R ends; one in containers stays with
#'   `stopOnExit = FALSE`, and [getCluster()] finds it.
#' @section Errors: `rustBatch_error_config` (a file or field that is wrong, with
#'   the elements `file`, `field`, `found`, `allowed`),
#'   `rustBatch_error_workers`, `rustBatch_error_provider`,
#'   `rustBatch_error_redis_missing`, `rustBatch_error_unreachable`,
#'   `rustBatch_error_foreign` (something else than Redis answers),
#'   `rustBatch_error_untrusted` (its certificate is not the one of that host),
#'   `rustBatch_error_version`, `rustBatch_error_credentials`,
#'   `rustBatch_error_setting`, `rustBatch_error_docker_missing`,
#'   `rustBatch_error_docker_daemon`, `rustBatch_error_docker_permission`,
#'   `rustBatch_error_image`, `rustBatch_error_package` (one that can't be installed),
#'   `rustBatch_error_budget` (it would cost more than it
#'   may), `rustBatch_error_provision` (a step that failed, with what the provider
#'   said) and `rustBatch_error_timed_out` (with what each worker was doing). All
#'   have the class `rustBatch_error`.
#' @section Warnings: `rustBatch_warning_plain`, where `redis` is on another
#'   host and not encrypted: then others on the way can see its password. All
#'   have the class `rustBatch_warning`.
#' @examplesIf nzchar(Sys.which("redis-server"))
#' cluster <- makeCluster(2)
#' cluster
#' registerDoRustBatch(cluster)
#' foreach(i = 1:3, .combine = c) %dopar% sqrt(i)
#' stopCluster(cluster)
#' @export
makeCluster <- function(spec = NULL, ..., type = NULL, redis = NULL) {
  if (!is.null(type) || (is.character(spec) && length(spec) > 1L)) {
    arguments <- c(list(spec = spec, type = type), list(...))
    return(do.call(parallel::makeCluster, arguments[!vapply(arguments, is.null, NA)]))
  }
  wanted <- wanted_cluster(spec, c(list(...), list(redis = redis)))
  check_system(wanted)
  warn_of_plain(cluster_exposed(wanted))
  await_cluster(cluster_begin(wanted, programs()))
}

# What makeCluster() and its like were asked for: the path of a file, or the fields of one; and by
# which call, for errors.
wanted_cluster <- function(spec, further, call = "makeCluster()") {
  fields <- further[!vapply(further, is.null, NA)]
  if (is.character(spec) && length(spec) == 1L && !is.na(spec)) {
    if (length(fields)) {
      abort("config", paste0(
        "`", names(fields)[1], "` can't be given beside a file\n",
        "* Write it into `", spec, "`, or give all fields as arguments."
      ), list(file = spec, field = names(fields)[1]))
    }
    return(list(file = path.expand(spec), fields = NULL, call = call))
  }
  if (is.list(spec)) {
    fields <- c(spec, fields)
  } else if (!is.null(spec)) {
    fields <- c(list(workers = spec), fields)
  }
  # The names of getOption("repos") say nothing.
  if (is.atomic(fields$repos)) fields$repos <- unname(fields$repos)
  check_fields(fields, call)
  # c(min = 1, max = 5) is meant like list(min = 1, max = 5).
  named <- vapply(fields, function(field) is.atomic(field) && !is.null(names(field)), NA)
  fields[named] <- lapply(fields[named], as.list)
  list(file = NULL, fields = fields, call = call)
}

check_system <- function(wanted) {
  local <- is.null(wanted$file) && identical(wanted$fields$provider %||% "local", "local")
  if (local && .Platform$OS.type == "windows") {
    abort("provider", paste0(
      "The provider `local` does not run on Windows\n",
      "* Run R in the Windows Subsystem for Linux (WSL), or use containers: `dockerCluster()`, ",
      "`ecsCluster()`."
    ))
  }
}

`%||%` <- function(value, usual) if (is.null(value)) usual else value

# The cluster that was begun, when it stands. Says meanwhile what there is to say, unless it stands
# before anybody could wonder.
await_cluster <- function(begun) {
  # Where nothing could be begun there is nothing to be given up.
  force(begun)
  on.exit(cluster_cancel(begun))
  patience <- Sys.time() + 1
  lines <- NULL
  while (!is.null(news <- cluster_news(begun))) {
    lines <- c(lines, news)
    if (Sys.time() >= patience) {
      for (line in lines) message(line)
      lines <- NULL
    }
  }
  structure(list(pointer = cluster_take(begun)), class = c("rustBatchCluster", "cluster"))
}

worker_executable <- function() {
  system.file("bin", "rustbatch-worker", package = "rustBatch", mustWork = TRUE)
}

programs <- function() {
  c(
    worker_executable(),
    file.path(R.home("bin"), "R"),
    as.character(getRversion())
  )
}

# A list without names would silently lose its fields, and one name twice one of its values; JSON
# has no word for NA, and none for a factor. Numbers that can't be are named where they are read.
check_fields <- function(fields, call, within = NULL) {
  names <- names(fields)
  refuse <- function(field, text) {
    field <- paste(c(within, field), collapse = "$")
    abort("config", sprintf(text, field, call), list(file = call, field = field))
  }
  if (length(fields) && (is.null(names) || !all(nzchar(names)))) {
    example <- switch(call,
      "setCredentials()" = "setCredentials(list(aws = list(profile = \"work\")))",
      "makeCluster(list(provider = \"local\", workers = 2))"
    )
    abort("config", paste0(
      "A field without a name was given to ", call, "\n* Name every field: `", example, "`."
    ), list(file = call))
  }
  if (anyDuplicated(names)) {
    refuse(names[anyDuplicated(names)], "The field `%s` was given to %s twice")
  }
  for (name in names) {
    field <- fields[[name]]
    if (is.factor(field)) refuse(name, "Can't use `%s` of %s: a factor\n* Use as.character().")
    missing <- (is.character(field) || is.logical(field)) && anyNA(field)
    if (missing && !name %in% c("workers", "slots")) refuse(name, "Can't use `%s` of %s: NA")
    # The names of an environment are no fields.
    holds <- (is.list(field) || is.atomic(field)) && !is.null(names(field))
    if (holds) check_fields(as.list(field), call, c(within, name))
  }
}

# What tasks and results hold is sealed, whatever carries it; the way to Redis is not.
warn_of_plain <- function(address) {
  if (is.null(address)) {
    return()
  }
  warn("plain", paste0(
    "The connection to `", address, "` is not encrypted\n",
    "* What tasks and results hold is sealed, but others on the way can see the password, and who ",
    "asks for what.\n",
    "* Use `rediss://`, or a tunnel: `ssh -L 6379:localhost:6379 host`, then ",
    "`redis://localhost:6379`."
  ), list(address = address))
}

#' Stop a cluster
#'
#' Ends the workers of a cluster, and its private Redis; a loop that runs on
#' it is lost. A cluster that is stopped is left alone, so it may be stopped
#' twice, and in `on.exit()`. A stop that is interrupted goes on: another
#' `stopCluster()` waits for it and says how it ended, and R waits for it when it
#' ends, two minutes at most. A cluster of package `parallel` is handed on to
#' [parallel::stopCluster()], which in turn stops ours.
#'
#' @param cl A cluster, from [makeCluster()], [getCluster()] or
#'   [parallel::makeCluster()].
#' @return `NULL`, invisibly.
#' @section Errors: `rustBatch_error_provision` where something of it could not be
#'   removed, which another `stopCluster()` tries again, or [cleanupClusters()].
#' @examplesIf nzchar(Sys.which("redis-server"))
#' cluster <- makeCluster(1)
#' stopCluster(cluster)
#' stopCluster(cluster)
#' @export
stopCluster <- function(cl = NULL) {
  if (inherits(cl, "rustBatchCluster")) {
    stopCluster.rustBatchCluster(cl)
  } else {
    parallel::stopCluster(cl)
  }
  invisible(NULL)
}

#' @exportS3Method parallel::stopCluster
stopCluster.rustBatchCluster <- function(cl = NULL) { # nolint: object_name_linter.
  # A cluster from a saved session has nothing that could be stopped.
  tryCatch(cluster_stop(cl$pointer, FALSE), rustBatch_error_closed = function(e) NULL)
  invisible(NULL)
}

#' @export
print.rustBatchCluster <- function(x, ...) {
  cat(format(x), sep = "\n")
  invisible(x)
}

#' @export
format.rustBatchCluster <- function(x, ...) {
  about <- tryCatch(
    cluster_describe(x$pointer),
    rustBatch_error_closed = function(e) NULL
  )
  if (is.null(about)) return("<rustBatch cluster> of an R session that has ended")
  name <- if (nzchar(about$name)) about$name else about$id
  lives <- about$state != "lost"
  c(
    paste0("<rustBatch cluster> ", name, ": ", about$state),
    if (lives) paste0("  ", places(about)),
    if (lives && nzchar(about$server)) paste0("  Redis at ", about$server),
    price(about, lives),
    if (!is.null(trouble <- cluster_trouble(x$pointer))) {
      paste("  what dies is not replaced:", sub("\n.*", "", trouble))
    }
  )
}

# What the cluster costs, where that is known.
price <- function(about, lives) {
  if (is.na(about$dollarsPerHour)) return()
  limit <- if (is.na(about$maxCost)) "" else paste(" of", dollars(about$maxCost))
  paste0(
    "  about ", if (lives) paste(dollars(about$dollarsPerHour), "dollars an hour, "),
    dollars(about$dollarsSoFar), limit, if (lives) " so far" else " dollars in all"
  )
}

dollars <- function(sum) formatC(sum, format = "f", digits = if (sum > 0 && sum < 0.01) 4 else 2)

# How many R processes there are, and where.
places <- function(about) {
  count <- function(n, noun, nouns) paste(n, if (n == 1L) noun else nouns)
  if (about$provider == "local") {
    processes <- count(about$slots, "R process", "R processes")
    return(paste(processes, "on this machine (provider local)"))
  }
  paste0(
    about$running, " of ", count(about$expected, "worker", "workers"), " with ",
    count(about$slots, "R process", "R processes"), " each (provider ", about$provider, ")"
  )
}
