#' rustBatch: run foreach loops on many R processes
#'
#' A backend for [foreach::foreach()]: [makeCluster()] starts R processes on this
#' machine, in containers or on AWS, [registerDoRustBatch()] makes `%dopar%` use them.
#'
#' @keywords internal
#' @import foreach
#' @importFrom iterators iter nextElem
#' @useDynLib rustBatch, .registration = TRUE
"_PACKAGE"

.onLoad <- function(libname, pkgname) {
  reg.finalizer(topenv(), await_farewell, onexit = TRUE)
}

# Clusters that end with R take a moment to go, in a cloud a longer one.
await_farewell <- function(namespace) {
  if (package_farewell(3)) {
    return()
  }
  message("Waiting until the cluster has stopped, at most two minutes ...")
  if (!package_farewell(120)) message("Something of it is left: see ?cleanupClusters.")
}

# The library stays loaded (no library.dynam.unload()): its threads may still be ending.
.onUnload <- function(libpath) {
  package_unload()
}
