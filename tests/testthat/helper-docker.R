# Clusters in containers, of plain images that hold nothing of ours.

docker <- function(...) {
  out <- suppressWarnings(system2("docker", shQuote(c(...)), stdout = TRUE, stderr = TRUE))
  structure(as.character(out), status = NULL)
}

images <- c(r = "rustbatch-test-r:bookworm", redis = "rustbatch-test-redis:bookworm")

skip_without_docker <- function() {
  testthat::skip_on_cran()
  found <- vapply(images, function(image) {
    identical(system2("docker", c("image", "inspect", image), stdout = FALSE, stderr = FALSE), 0L)
  }, NA)
  testthat::skip_if_not(all(found), "no Docker with the images of tools/setup --e2e")
}

in_docker <- function(workers = 2, ..., image = images[["r"]]) {
  dockerCluster(workers, image = image, serverImage = images[["redis"]], waitForAll = TRUE, ...)
}

# A cluster in containers that %dopar% uses until the test ends.
local_docker <- function(workers = 2, ..., frame = parent.frame()) {
  skip_without_docker()
  cluster <- suppressMessages(makeCluster(in_docker(workers, ...)))
  at_end(bquote(rustBatch::stopCluster(.(cluster))), frame)
  at_end(quote(foreach::registerDoSEQ()), frame)
  registerDoRustBatch(cluster)
  cluster
}

id_of <- function(cluster) cluster_describe(cluster$pointer)$id

# The containers of a cluster that run, or all.
containers_of <- function(id, ..., all = FALSE) {
  filters <- c(paste0("rustbatch.cluster=", id), ...)
  filters <- as.vector(rbind("--filter", paste0("label=", filters)))
  do.call(docker, as.list(c("ps", if (all) "--all", filters, "--format", "{{.Names}}")))
}

workers_of <- function(id) containers_of(id, "rustbatch.role=worker")
servers_of <- function(id) containers_of(id, "rustbatch.role=server")

# A `docker` that takes a second for each container that it removes, and refuses that as long as
# there is the file whose name is returned; until the test ends.
local_slow_docker <- function(frame = parent.frame()) {
  place <- tempfile("docker-")
  dir.create(place)
  refuses <- file.path(place, "refuses")
  writeLines(c(
    "#!/bin/sh",
    "case $1 in rm)",
    "  sleep 1",
    sprintf("  if [ -e '%s' ]; then echo 'Error from daemon: not now' >&2; exit 1; fi", refuses),
    "esac",
    sprintf("exec '%s' \"$@\"", Sys.which("docker"))
  ), file.path(place, "docker"))
  Sys.chmod(file.path(place, "docker"), "755")
  local_environment(c(PATH = paste(place, Sys.getenv("PATH"), sep = ":")), frame)
  refuses
}

# Does something in a process of its own when `seconds` have passed.
later <- function(seconds, command, frame = parent.frame()) {
  script <- sprintf("sleep %s; exec %s", seconds, command)
  process <- system2("sh", c("-c", shQuote(script)), wait = FALSE, stdout = FALSE, stderr = FALSE)
  invisible(process)
}

# Whether the daemon has nothing of a cluster.
nothing_left <- function(id) {
  length(containers_of(id, all = TRUE)) == 0L &&
    !any(grepl(id, docker("network", "ls", "--format", "{{.Name}}"), fixed = TRUE))
}
