#' rustBatch: run foreach loops in containers, in the cloud or at home
#'
#' A backend for [foreach::foreach()] whose workers run in containers on AWS ECS
#' Fargate, Azure Batch and Kubernetes, in Docker, on hosts reached by ssh, or
#' as local processes.
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
