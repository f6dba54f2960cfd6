#' rustBatch: run foreach loops on many R processes
#'
#' A backend for [foreach::foreach()]: [makeCluster()] starts R processes on this
#' machine or in containers, [registerDoRustBatch()] makes `%dopar%` use them.
#'
#' @keywords internal
#' @import foreach
#' @importFrom iterators iter nextElem
#' @useDynLib rustBatch, .registration = TRUE
"_PACKAGE"

# Clusters that end with R take a moment to go.
.onLoad <- function(libname, pkgname) {
  reg.finalizer(topenv(), function(namespace) package_farewell(), onexit = TRUE)
}

# The library stays loaded (no library.dynam.unload()): its threads may still be ending.
.onUnload <- function(libpath) {
  package_unload()
}
