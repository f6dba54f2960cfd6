# Clusters on Fargate, in an account of this machine: the harness of the Rust tests, whose tasks are
# real containers.

skip_without_aws <- function() {
  skip_without_docker()
  testthat::skip_if_not(
    file.exists(moto()) && dir.exists(harness()), "no moto of tools/setup --e2e"
  )
}

harness <- function() testthat::test_path("../../src/rust/provision/tests/ecs/harness")

moto <- function() {
  cache <- Sys.getenv("XDG_CACHE_HOME", "~/.cache")
  file.path(path.expand(cache), "rustBatch/moto/bin/python")
}

# An account for one test. All that is said to AWS goes there, with `environment` beside.
local_aws <- function(environment = character(), frame = parent.frame()) {
  skip_without_aws()
  told <- tempfile("aws-")
  # It ends with its standard input. The libraries of R are not Python's.
  start <- paste("env -u LD_LIBRARY_PATH", shQuote(moto()), "-B", shQuote(harness()))
  held <- pipe(paste(start, ">", shQuote(told)), "w")
  at_end(bquote(close(.(held))), frame)
  ready <- function() if (file.exists(told)) grep("^ready ", readLines(told), value = TRUE)
  if (!wait_until(length(ready()) == 1L, 60)) stop("the harness did not start")
  endpoint <- paste0("http://127.0.0.1:", sub("ready ", "", ready()))
  known <- c(
    AWS_ENDPOINT_URL = endpoint, AWS_REGION = "us-east-1", AWS_EC2_METADATA_DISABLED = "true",
    AWS_CONFIG_FILE = "/dev/null", AWS_SHARED_CREDENTIALS_FILE = "/dev/null",
    AWS_ACCESS_KEY_ID = "test", AWS_SECRET_ACCESS_KEY = "test"
  )
  local_environment(c(known[setdiff(names(known), names(environment))], environment), frame)
  state <- function() {
    paste(readLines(paste0(endpoint, "/_harness/state"), warn = FALSE), collapse = "")
  }
  tell <- function(verb, what = "{}") {
    command <- c("-s", "--data", shQuote(what), shQuote(paste0(endpoint, "/_harness/", verb)))
    system2("curl", command, stdout = FALSE)
  }
  list(
    endpoint = endpoint,
    # What is tagged as this cluster's, but tasks: ARNs.
    things = function(id) {
      things <- regmatches(state(), regexpr('"things": .*?\\}\\}', state(), perl = TRUE))
      arns <- unlist(regmatches(things, gregexpr('"arn:[^"]+": \\{[^}]*\\}', things)))
      sub('^"([^"]+)".*', "\\1", grep(paste0('"', id, '"'), arns, value = TRUE, fixed = TRUE))
    },
    state = state,
    tell = tell,
    containers = function() {
      network <- sub('.*"network": "([^"]+)".*', "\\1", state())
      docker("ps", "--all", "--quiet", "--filter", paste0("label=rustbatch.harness=", network))
    }
  )
}

# Environment variables that are as before when `frame` is left.
local_environment <- function(variables, frame = parent.frame()) {
  before <- Sys.getenv(names(variables), NA, names = TRUE)
  do.call(Sys.setenv, as.list(variables))
  at_end(bquote(Sys.unsetenv(.(names(before)[is.na(before)]))), frame)
  if (!all(is.na(before))) {
    at_end(bquote(do.call(Sys.setenv, .(as.list(before[!is.na(before)])))), frame)
  }
}

# An image with the executable, as users make it; until the test ends.
local_worker_image <- function(frame = parent.frame()) {
  tag <- paste0("rustbatch-test-worker-", Sys.getpid(), ":", as.integer(runif(1) * 1e9))
  at_end(bquote(docker("image", "rm", "--force", .(tag))), frame)
  suppressMessages(buildWorkerImage(images[["r"]], tag = tag))
}

on_fargate <- function(workers, worker_image, ..., memory = 1024) {
  ecsCluster(
    workers, cpu = 256, memory = memory, image = images[["r"]], workerImage = worker_image,
    serverImage = images[["redis"]], serverMemory = 512, waitForAll = TRUE, ...
  )
}
