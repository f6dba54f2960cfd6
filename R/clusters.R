#' Find clusters that run
#'
#' A cluster in containers that was left running, because R was killed or it has
#' `stopOnExit = FALSE`, is found again by its name, from any R process that may
#' use the same provider, and used as before. Several processes may use one
#' cluster at a time. Where its server had been stopped, [getCluster()] starts it
#' again.
#'
#' @param name The name that the cluster was given, or its id (text).
#' @param spec,... The provider, as for [makeCluster()]: the path of a
#'   `cluster.json`, a list such as [dockerCluster()] or [ecsCluster()] returns, or
#'   nothing for containers of the current Docker context. Of a cluster on AWS, only
#'   `region` and `owner` have to be the same as when it was made.
#' @param stopOnExit Whether the cluster is stopped when this R process ends, or
#'   forgets it.
#' @param olderThan Only clusters that were made so many seconds ago, or before.
#' @param cluster Only this cluster: its name, or its id (text). `NULL`: all.
#' @return `getCluster()`: a cluster, as [makeCluster()] returns it.
#'   `getClusterList()`: a data frame with the columns `cluster` (id), `created`
#'   (time, where it is known) and `instances` (number of containers).
#'   `cleanupClusters()`: the ids of the clusters that were removed, invisibly.
#' @section Errors: `rustBatch_error_no_cluster` (there is none of this name, or
#'   more than one), `rustBatch_error_version` (another version of rustBatch has
#'   started it), `rustBatch_error_provision`, `rustBatch_error_unreachable`.
#' @details `cleanupClusters()` stops all clusters of the provider that carry
#'   rustBatch's tag, whoever has started them (on AWS: those of this owner), and
#'   touches nothing else.
#' @examples
#' \dontrun{
#' cluster <- makeCluster(dockerCluster(2, name = "fit", stopOnExit = FALSE))
#' # In another R process:
#' getClusterList()
#' cluster <- getCluster("fit")
#' registerDoRustBatch(cluster)
#' foreach(i = 1:3, .combine = c) %dopar% sqrt(i)
#' stopCluster(cluster)
#' }
#' @export
getCluster <- function(name, spec = NULL, ..., stopOnExit = FALSE) { # nolint: object_name_linter.
  check_name(name, "name")
  if (!isTRUE(stopOnExit) && !isFALSE(stopOnExit)) {
    abort("config", "`stopOnExit` of getCluster() is neither TRUE nor FALSE")
  }
  wanted <- wanted_provider(spec, list(...), "getCluster()")
  await_cluster(cluster_attach(name, wanted, programs(), isTRUE(stopOnExit)))
}

#' @rdname getCluster
#' @export
getClusterList <- function(spec = NULL, ...) { # nolint: object_name_linter.
  found_clusters(wanted_provider(spec, list(...), "getClusterList()"))
}

found_clusters <- function(wanted) {
  found <- clusters_find(wanted, programs())
  found$created[is.nan(found$created)] <- NA
  found$created <- as.POSIXct(found$created, origin = "1970-01-01")
  as.data.frame(found)
}

#' @rdname getCluster
#' @export
cleanupClusters <- function(spec = NULL, ..., olderThan = 0, # nolint: object_name_linter.
                            cluster = NULL) {
  if (!is.numeric(olderThan) || length(olderThan) != 1L || !isTRUE(olderThan >= 0)) {
    abort("config", "`olderThan` of cleanupClusters() must be a number of seconds, at least 0")
  }
  if (!is.null(cluster)) check_name(cluster, "cluster")
  wanted <- wanted_provider(spec, list(...), "cleanupClusters()")
  all <- found_clusters(wanted)
  if (!is.null(cluster)) {
    all <- all[all$cluster == cluster | sub("-[^-]*$", "", all$cluster) == cluster, ]
  }
  if (!nrow(all)) {
    return(invisible(character()))
  }
  age <- as.numeric(difftime(Sys.time(), all$created, units = "secs"))
  # One of unknown age is taken down only where any age will do.
  ids <- all$cluster[if (olderThan > 0) !is.na(age) & age >= olderThan else TRUE]
  if (!length(ids)) {
    return(invisible(character()))
  }
  report <- clusters_remove(ids, wanted, programs())
  if (length(report$left)) {
    abort("provision", paste0(
      "Not all of the clusters could be removed\n", paste0("* ", report$left, collapse = "\n")
    ), list(left = report$left))
  }
  invisible(ids)
}

check_name <- function(name, argument) {
  fits <- is.character(name) && length(name) == 1L && !is.na(name) && nzchar(name)
  if (!fits || nchar(name) > 100L) {
    abort("no_cluster", paste0("`", argument, "` is not the name of a cluster: one text"))
  }
}

# Containers, where nothing is said: clusters of other kinds end with their R process.
wanted_provider <- function(spec, further, call) {
  is_path <- is.character(spec) && length(spec) == 1L && !is.na(spec)
  if (!is.null(spec) && !is_path && !is.list(spec)) {
    abort("config", paste0(
      "`spec` is ", what_it_is(spec), "\n",
      "* It is the path of a `cluster.json`, or a list such as `dockerCluster()` returns."
    ))
  }
  wanted <- wanted_cluster(spec, further, call)
  if (is.null(wanted$file) && is.null(wanted$fields$provider)) {
    wanted$fields$provider <- "docker"
  }
  wanted
}
