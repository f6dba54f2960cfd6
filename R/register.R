#' Use a cluster for `%dopar%`
#'
#' From now on [foreach::%dopar%] runs its tasks on `cluster`.
#' [foreach::registerDoSEQ()] goes back to this session. A cluster that runs
#' loops is not stopped by registering another.
#'
#' @details
#' In `.options.rustBatch` a loop may be given a list with `chunkSize`, the
#' number of tasks that travel together; without it rustBatch sizes the chunks
#' by the time that the tasks take.
#'
#' The packages in `.packages` have to be installed where the tasks run. Workers
#' in containers install those that are missing, once for each container, from
#' their cluster's repositories. From elsewhere they are asked for as arguments
#' of `foreach()`, `github = "user/repository"` and `bioconductor = "limma"`, or
#' under these names in `.options.rustBatch`. Such an argument is an iterator
#' like any other where the tasks use it. Workers on this machine install
#' nothing. A package that can't be installed is an error of the tasks, of class
#' `rustBatch_error_package`, with the elements `package`, `found` and `log`.
#'
#' Every task has a random number stream of its own, which follows from the
#' session's generator by one draw for each loop: the same [set.seed()] gives the
#' same numbers, whatever the number of R processes and the chunks.
#' `options(rustBatch.seed = "none")` switches this off. The streams are of the
#' kind `"L'Ecuyer-CMRG"`, so a [set.seed()] within a task gives the numbers of that
#' kind, not those of the session's.
#'
#' A task finds the session as it was before the task. Objects that refer to an
#' environment (closures, R5 and R6 objects) are the exception: what a task
#' changes in such an environment stays changed for later tasks of the same R
#' process and loop.
#'
#' @param cluster A cluster from [makeCluster()].
#' @return `cluster`, invisibly.
#' @section Errors: `rustBatch_error_cluster` when `cluster` is something else. When it
#'   can't run loops: `rustBatch_error_closed` (it has been stopped),
#'   `rustBatch_error_paused` (its server has, by [stopServer()]),
#'   `rustBatch_error_lost` (what died of it is not replaced any more),
#'   `rustBatch_error_forked` (it belongs to another R process). Loops end with these
#'   as well, and with `rustBatch_error_corrupt` where something in Redis was damaged
#'   or forged and can't be sent again; `vignette("failures")` has all errors.
#' @section Warnings: a loop warns with `rustBatch_warning_unkept`, once, where the
#'   provider does not let the cluster be kept up any more, for example because
#'   credentials have expired: the loop goes on with the workers that there are.
#' @examplesIf nzchar(Sys.which("redis-server"))
#' cluster <- makeCluster(2)
#' registerDoRustBatch(cluster)
#' getDoParName()
#' getDoParWorkers()
#' set.seed(1)
#' foreach(i = 1:3, .combine = c) %dopar% rnorm(1)
#' stopCluster(cluster)
#' @export
registerDoRustBatch <- function(cluster) {
  check_ours(cluster)
  cluster_check(cluster$pointer)
  setDoPar(dopar, cluster, dopar_info)
  invisible(cluster)
}

dopar_info <- function(data, item) {
  switch(item,
    workers = slots_of(data),
    name = "doRustBatch",
    version = as.character(utils::packageVersion("rustBatch"))
  )
}

# How many R processes a cluster shall have.
slots_of <- function(cluster) {
  about <- cluster_describe(cluster$pointer)
  as.integer(about$slots * about$expected)
}

what_it_is <- function(x) {
  if (inherits(x, "cluster")) {
    return("a cluster of package `parallel`")
  }
  if (is.null(x)) "NULL" else paste0("an object of class `", class(x)[1], "`")
}
