#' A cluster in containers
#'
#' Describes a cluster of Docker containers, for [makeCluster()]. Any image that
#' has R will do: nothing of rustBatch has to be in it. The containers run on
#' whatever machine the `docker` command of this one speaks to, in a network of
#' their own; what they say to their Redis is encrypted.
#'
#' @param workers The number of workers, one container each; or
#'   `c(min = 2, max = 10)`: then there are as many as the queue keeps busy.
#' @param image The image of a worker (text). `NULL`: `rocker/r-ver` of the version
#'   of R that asks. Images of a private registry are pulled with what `docker
#'   login` has stored.
#' @param cpu Processors of a worker (number). `NULL`: no limit.
#' @param memory Memory of a worker: a number of MiB, or a text such as `"2g"`.
#'   `NULL`: no limit.
#' @param slots R processes in each worker (number).
#' @param ... Further fields of a `cluster.json`, by name: `name` (text),
#'   `env` (named texts, the environment of the workers; no place for secrets),
#'   `context` (text, a Docker context), `serverImage` (text, any image with
#'   `redis-server`, `"redis:7"` unless given), `rCommand` (text, the R to run),
#'   `sysPackages` (texts, Debian packages), `rPackages` (texts, packages of
#'   CRAN, or a list of texts `cran`, `github`, `bioconductor`), `repos` (texts,
#'   URLs of repositories like CRAN, also `file://`) and `commandLine` (texts, for
#'   `/bin/sh`), all of which a worker installs and runs before it joins;
#'   `executable` (path of a `rustbatch-worker` that fits the image, where this
#'   package's own does not), `redis` (URL of your own), `stopOnExit` (`FALSE`
#'   leaves the cluster running when R ends), `waitForAll` (`TRUE` waits for all
#'   workers instead of the first), `startTimeout`, `idleTimeout` and `lifetime`
#'   (numbers of seconds: 300, 600 and 43200 unless given, and 3600 for a start with
#'   packages to install; workers without work for `idleTimeout` end, and are started
#'   again with the next loop; where no R session uses the cluster, the Redis ends
#'   after them).
#' @details Packages that a loop names (`.packages`, or `github = "user/repository"`
#'   and `bioconductor = "name"` as arguments of [foreach::foreach()]) are installed
#'   once in each worker where they are missing. Where many workers start often, an
#'   image that has them starts faster: [buildWorkerImage()].
#' @return A list for [makeCluster()].
#' @seealso [buildWorkerImage()], [getCluster()], [resizeCluster()], [clusterLogs()].
#' @examples
#' dockerCluster(workers = 4, image = "rocker/r-ver:4.4", cpu = 1, memory = "2g")
#' \dontrun{
#' cluster <- makeCluster(dockerCluster(4))
#' registerDoRustBatch(cluster)
#' foreach(i = 1:100, .combine = c) %dopar% sqrt(i)
#' stopCluster(cluster)
#' }
#' @export
dockerCluster <- function(workers = 2, image = NULL, cpu = NULL, memory = NULL, slots = 1, ...) {
  fields <- list(
    provider = "docker", workers = workers, image = image, cpu = cpu, memory = memory,
    slots = slots, ...
  )
  fields[!vapply(fields, is.null, NA)]
}
