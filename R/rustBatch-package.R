#' rustBatch: run foreach loops on many R processes
#'
#' A backend for [foreach::foreach()]: [makeCluster()] starts R processes on this
#' machine, [registerDoRustBatch()] makes `%dopar%` use them. Workers in
#' containers, in the cloud and on other hosts are to come.
#'
#' @keywords internal
#' @import foreach
#' @importFrom iterators iter nextElem
#' @useDynLib rustBatch, .registration = TRUE
"_PACKAGE"

# The library stays loaded (no library.dynam.unload()): its threads may still be ending.
.onUnload <- function(libpath) {
  package_unload()
}
