#' A cluster on AWS Fargate
#'
#' Describes a cluster whose workers are tasks of AWS Fargate, for [makeCluster()].
#' There are no machines to look after, and each task costs only while it runs. Any
#' image that has R will do; the executable of the workers comes from a bucket of
#' yours, or from an image that [buildWorkerImage()] has made, once.
#'
#' @param workers The number of workers, one task each; or `c(min = 2, max = 50)`:
#'   then there are as many as the queue keeps busy.
#' @param image The image of a worker (text). `NULL`: `rocker/r-ver` of the version
#'   of R that asks.
#' @param cpu Processors of a worker, in 1024ths, as Fargate counts (number):
#'   1024 is one processor.
#' @param memory Memory of a worker: a number of MiB, or a text such as `"4g"`.
#'   Sizes that Fargate does not have are rounded up, and you are told.
#' @param slots R processes in each worker (number).
#' @param spot Whether workers run on spare capacity, which costs up to 70 % less and
#'   can be taken away at two minutes' notice (no task is lost then): `"never"`,
#'   `"prefer"` (what is lacking runs as usual) or `"only"`. The server never does.
#' @param bucket A bucket of S3, in the region of the cluster (text). The executable
#'   of the workers is put there, once for each version, and each task fetches it and
#'   looks whether it is the one.
#' @param workerImage In place of `bucket`, the image that holds the executable, from
#'   [buildWorkerImage()] (text). It is copied into each task.
#' @param region The region (text). `NULL`: the one that AWS's own tools would use.
#' @param maxCostPerHour,maxCost What the cluster may cost at most, for an hour and
#'   in all, in US dollars (number). What would cost more is not started, and at
#'   `maxCost` the tasks end by themselves. `NULL`: no limit.
#' @param ... Further fields of a `cluster.json`, by name. Those of all clusters in
#'   containers, as for [dockerCluster()]: `name`, `env`, `serverImage`, `rCommand`,
#'   `sysPackages`, `rPackages`, `repos`, `commandLine`, `redis`, `stopOnExit`,
#'   `waitForAll`, `startTimeout`, `idleTimeout`, `lifetime`. And those of Fargate:
#'
#'   * What a task is: `baked` (`TRUE` where `image` itself is from
#'     [buildWorkerImage()]; neither `bucket` nor `workerImage` then), `executable` (path
#'     of the `rustbatch-worker` for the bucket, where this package's own was built for
#'     another system), `workerPath` (text, where the
#'     executable is in the image), `serverCpu` and `serverMemory` (256 and 2048
#'     unless given: jobs and results wait in that memory), `architecture`
#'     (`"x86_64"` or `"arm64"`), `disk` (GiB, 21 to 200; 20 unless given),
#'     `stopTimeout` (seconds that a worker may take to end, 2 to 120; 120 unless
#'     given).
#'   * Where it is: `ecsCluster`, `vpc`, `subnets`, `securityGroups` (names and ids of
#'     your own; what is not named is made, and removed with the cluster), `publicIp`
#'     (`FALSE` for private subnets, which need a NAT gateway or endpoints), `reach`
#'     (`"private"` where this machine is in the VPC or has a VPN to it),
#'     `clientAddress` (the network that may reach the server; this machine's own
#'     address, `/32`, unless given).
#'   * What it may do: `executionRole` and `taskRole` (ARNs; one that starts tasks is
#'     made, and R code has none, unless given), `executeCommand` (`TRUE` lets
#'     [clusterShell()] open a shell), `sshPublicKey` (a key that may log in as root,
#'     or the path of its file; the image needs `sshd`).
#'   * What stays: `keep` (any of `"network"`, `"role"` and `"logs"`, for the next
#'     cluster that keeps it; it carries the tag `rustbatch:kept`), `logDays` (14
#'     unless given), `tags` (named texts, for all that is made), `owner` (text, whose
#'     clusters these are; the ARN that AWS knows you by unless given).
#'   * What it costs: `pricePerCpu` and `pricePerGib` (US dollars for an hour; those
#'     of us-east-1 unless given).
#' @details Who asks AWS is what AWS's own tools would use (environment, profile, SSO,
#'   role), or what [setCredentials()] was given. All that is made carries tags with
#'   the cluster's id and its owner, and by these alone is found and removed. What the
#'   price is said to be counts all tasks as on-demand, so Spot costs less.
#'
#'   The permissions that are needed stand in two policies,
#'   `system.file("iam", package = "rustBatch")`: `daily.json` for every day, and
#'   `bootstrap.json` for who makes networks and roles.
#' @return A list for [makeCluster()].
#' @seealso [setCredentials()], [buildWorkerImage()], [getCluster()],
#'   [resizeCluster()], `vignette("aws")`.
#' @examples
#' ecsCluster(workers = 20, cpu = 1024, memory = 2048, image = "rocker/r-ver:4.4", spot = "prefer")
#' \dontrun{
#' setCredentials()
#' cluster <- makeCluster(ecsCluster(20, bucket = "my-bucket", spot = "prefer", maxCost = 5))
#' cluster
#' registerDoRustBatch(cluster)
#' foreach(i = 1:1000, .combine = c) %dopar% sqrt(i)
#' stopCluster(cluster)
#' }
#' @export
ecsCluster <- function(workers = 2, image = NULL, cpu = 1024, memory = 2048, slots = 1,
                       spot = "never", bucket = NULL, workerImage = NULL, region = NULL,
                       maxCostPerHour = NULL, maxCost = NULL, ...) { # nolint: object_name_linter.
  fields <- list(
    provider = "ecs", workers = workers, image = image, cpu = cpu, memory = memory, slots = slots,
    spot = spot, bucket = bucket, workerImage = workerImage, region = region,
    maxCostPerHour = maxCostPerHour, maxCost = maxCost, ...
  )
  fields[!vapply(fields, is.null, NA)]
}
