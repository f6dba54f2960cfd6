#' Look at a cluster's workers, and change their number
#'
#' `resizeCluster()` changes the number of workers while loops run: those that
#' come are used at once, those that leave finish first what they work on, idle
#' ones before busy ones. Nothing is lost.
#'
#' @param cluster A cluster from [makeCluster()] or [getCluster()].
#' @param n How many workers there shall be (number).
#' @param min,max Between which numbers the workers shall follow the queue; both have
#'   to be given.
#' @param worker Which worker: its number in the order of `clusterInstances()`, 1
#'   unless given; or its name, as that lists it; or `"server"`.
#' @param tail How many of its last lines.
#' @return `resizeCluster()`: the cluster, invisibly. `getWorkerNumbers()`: a list
#'   of numbers: `expected`; `initializing` (instances that have not joined);
#'   `running` (workers that have joined). `clusterInstances()`: a data frame with
#'   the columns `instance`, `role`, `state` and `said` (what it is doing, or why
#'   it has stopped; its log has the rest). `clusterLogs()`: lines of text.
#'   `clusterShell()`: the command that opens a shell in a worker, invisibly; it
#'   prints it (two of them where a cluster of [ecsCluster()] has two ways in).
#'   `isServerRunning()`: `TRUE` or `FALSE`. `startServer()` and `stopServer()`: the
#'   cluster, invisibly.
#' @details `stopServer()` stops a cluster's Redis and with it the workers, which
#'   cost something too, and keeps the rest; `startServer()` starts them again.
#' @section Errors: `rustBatch_error_local` for clusters of this machine's
#'   processes, which have one worker and a size that stays;
#'   `rustBatch_error_workers` (a number that no cluster can have);
#'   `rustBatch_error_budget` (they would cost more than the cluster may);
#'   `rustBatch_error_no_worker` (there is no such instance);
#'   `rustBatch_error_closed` (it has been stopped), `rustBatch_error_cancelled`
#'   (while it was looked at); those of the provider, `rustBatch_error_provision`.
#'   Between `stopServer()` and `startServer()` a loop is an error of class
#'   `rustBatch_error_paused`.
#' @examples
#' \dontrun{
#' cluster <- makeCluster(dockerCluster(2))
#' resizeCluster(cluster, 5)
#' getWorkerNumbers(cluster)
#' clusterLogs(cluster, 1)
#' clusterShell(cluster, 1)
#' stopCluster(cluster)
#' }
#' @export
resizeCluster <- function(cluster, n = NULL, min = n, max = n) {
  check_remote(cluster)
  if (is.null(min) != is.null(max)) {
    abort("workers", paste0(
      "Of `min` and `max` only one was given\n",
      "* Give both, `resizeCluster(cluster, min = 1, max = 10)`, or the number alone, ",
      "`resizeCluster(cluster, 5)`."
    ))
  }
  sizes <- list(min, max)
  fits <- function(size) is.numeric(size) && length(size) == 1L && size %in% 0:1024
  if (!all(vapply(sizes, fits, NA)) || sizes[[1]] > sizes[[2]]) {
    said <- vapply(sizes, function(size) {
      if (is.numeric(size)) paste(format(size), collapse = ", ") else what_it_is(size)
    }, "")
    abort("workers", paste0(
      "A cluster can't have ", paste(unique(said), collapse = " to "), " workers\n",
      "* Both are whole numbers from 0 to 1024: `resizeCluster(cluster, 5)`, or ",
      "`resizeCluster(cluster, min = 1, max = 10)`."
    ))
  }
  if (sizes[[2]] == 0) {
    message("Loops on this cluster wait until it has workers again: resizeCluster(cluster, 1)")
  }
  fleet_resize(cluster$pointer, as.integer(sizes[[1]]), as.integer(sizes[[2]]))
  fleet_look(cluster$pointer)
  invisible(cluster)
}

#' @rdname resizeCluster
#' @export
getWorkerNumbers <- function(cluster) {
  check_ours(cluster)
  about <- cluster_describe(cluster$pointer)
  if (about$provider != "local") {
    fleet_look(cluster$pointer)
    about <- cluster_describe(cluster$pointer)
  }
  about[c("expected", "initializing", "running")]
}

#' @rdname resizeCluster
#' @export
clusterInstances <- function(cluster) {
  check_ours(cluster)
  all <- as.data.frame(fleet_instances(cluster$pointer))
  # Those that have stopped come last: a worker's number is that of one that runs.
  all <- all[order(all$role, match(all$state, c("running", "starting", "stopped"))), ]
  # The rest of what a stopped one has to say is its log.
  all$said <- sub("\n.*", "", all$said)
  rownames(all) <- NULL
  all
}

#' @rdname resizeCluster
#' @export
clusterLogs <- function(cluster, worker = NULL, tail = 100) {
  check_ours(cluster)
  if (!is.numeric(tail) || length(tail) != 1L || !isTRUE(tail >= 0 && tail <= 1e6)) {
    abort("config", "`tail` of clusterLogs() must be a number of lines, from 0 to a million")
  }
  fleet_logs(cluster$pointer, instance_of(cluster, worker), as.integer(tail))
}

#' @rdname resizeCluster
#' @export
clusterShell <- function(cluster, worker = NULL) {
  check_remote(cluster)
  commands <- fleet_shell(cluster$pointer, instance_of(cluster, worker))
  lines <- vapply(commands, function(words) {
    odd <- grepl("[^A-Za-z0-9_./:@=-]", words)
    paste(ifelse(odd, shQuote(words), words), collapse = " ")
  }, "")
  cat(lines, sep = "\n")
  invisible(lines)
}

#' @rdname resizeCluster
#' @export
startServer <- function(cluster) {
  check_remote(cluster)
  fleet_serve(cluster$pointer, TRUE)
  invisible(cluster)
}

#' @rdname resizeCluster
#' @export
stopServer <- function(cluster) {
  check_remote(cluster)
  fleet_serve(cluster$pointer, FALSE)
  invisible(cluster)
}

#' @rdname resizeCluster
#' @export
isServerRunning <- function(cluster) {
  check_ours(cluster)
  fleet_serves(cluster$pointer)
}

# The name of the instance that is meant.
instance_of <- function(cluster, worker) {
  all <- clusterInstances(cluster)
  workers <- all$instance[all$role == "worker"]
  name <- if (is.numeric(worker)) {
    if (length(worker) == 1L && isTRUE(worker >= 1 & worker == trunc(worker))) workers[worker]
  } else if (identical(worker, "server")) {
    all$instance[all$role == "server"][1]
  } else {
    worker %||% workers[1]
  }
  if (length(name) != 1L || !name %in% all$instance) {
    asked <- substr(paste(format(worker), collapse = ", "), 1L, 60L)
    abort("no_worker", paste0(
      "The cluster has no instance `", asked, "`\n",
      "* `clusterInstances(cluster)` lists those that there are."
    ))
  }
  name
}

check_ours <- function(cluster) {
  if (!inherits(cluster, "rustBatchCluster")) {
    abort("cluster", paste0(
      "`cluster` is ", what_it_is(cluster), ", not a cluster of rustBatch\n",
      "* Make one with `cluster <- rustBatch::makeCluster()`."
    ))
  }
}

check_remote <- function(cluster) {
  check_ours(cluster)
  if (cluster_describe(cluster$pointer)$provider == "local") {
    abort("local", paste0(
      "The processes of this machine are started and stopped together\n",
      "* Stop the cluster, and make another one: `makeCluster(4)`."
    ))
  }
}
