# Clusters in real containers. Each test has a cluster of its own, and leaves nothing.

test_as_user("a loop runs in containers of an image that has R and nothing else", {
  cluster <- local_docker(4)
  id <- id_of(cluster)
  hosts <- foreach(i = 1:80, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
    Sys.sleep(0.05)
    stopifnot(!requireNamespace("rustBatch", quietly = TRUE))
    Sys.info()[["nodename"]]
  }
  expect_length(unique(hosts), 4)
  expect_identical(foreach(i = 1:200, .combine = c) %dopar% i^2, (1:200)^2)
  expect_identical(getDoParWorkers(), 4L)
  expect_identical(getWorkerNumbers(cluster), list(expected = 4L, initializing = 0L, running = 4L))
  expect_true(isServerRunning(cluster))
  listed <- clusterInstances(cluster)
  expect_identical(sort(listed$role), c("server", rep("worker", 4)))
  expect_true(all(listed$state == "running"))
  expect_type(clusterLogs(cluster, 1), "character")
  shown <- capture.output(command <- clusterShell(cluster, 2))
  expect_identical(shown, command)
  expect_match(command, "^docker exec --interactive --tty [0-9a-f]+-[0-9]+ sh$")
  stopCluster(cluster)
  expect_true(nothing_left(id))
})

test_as_user("an old image of R is a worker", {
  skip_without_docker()
  old <- "rustbatch-test-r:bullseye"
  there <- system2("docker", c("image", "inspect", old), stdout = FALSE, stderr = FALSE)
  testthat::skip_if_not(identical(there, 0L), "no image of Debian 11")
  local_docker(1, image = old)
  expect_identical(foreach(i = 1, .combine = c) %dopar% paste(R.version$major, i), "4 1")
})

test_as_user("what a loop exports comes once to a container, whatever its slots", {
  cluster <- local_docker(1, slots = 2, memory = "2g")
  id <- id_of(cluster)
  received <- function() {
    lines <- docker("exec", workers_of(id), "cat", "/proc/net/dev")
    line <- trimws(sub(".*eth0:", "", grep("eth0:", lines, value = TRUE)))
    as.numeric(strsplit(line, " +")[[1]][1])
  }
  numbers <- runif(100e6 / 8)
  expected <- sum(numbers)
  before <- received()
  found <- foreach(i = 1:20, .combine = rbind, .options.rustBatch = chunks_of(1)) %dopar% {
    Sys.sleep(0.05)
    c(sum(numbers), Sys.getpid())
  }
  took <- received() - before
  expect_identical(unique(found[, 1]), expected)
  expect_length(unique(found[, 2]), 2)
  # Random numbers can hardly be compressed.
  expect_gt(took, 75e6)
  expect_lt(took, 130e6)
})

test_as_user("a killed worker's container costs no task", {
  cluster <- local_docker(2)
  id <- id_of(cluster)
  first <- workers_of(id)[1]
  later(1, paste("docker kill", first))
  found <- suppressMessages(
    foreach(i = 1:200, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
      Sys.sleep(0.05)
      i
    }
  )
  expect_identical(found, 1:200)
  # Another one takes its place.
  expect_true(wait_until(length(setdiff(workers_of(id), first)) == 2L, 60))
})

test_as_user("a killed server's container costs no task", {
  cluster <- local_docker(2)
  id <- id_of(cluster)
  first <- servers_of(id)
  later(2, paste("docker kill", first))
  found <- suppressMessages(
    foreach(i = 1:200, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
      Sys.sleep(0.05)
      i
    }
  )
  expect_identical(found, 1:200)
  expect_false(identical(servers_of(id), first))
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("a loop on a cluster whose server has been stopped says so", {
  cluster <- local_docker(1)
  stopServer(cluster)
  expect_false(isServerRunning(cluster))
  error <- expect_error(foreach(i = 1) %dopar% i, class = "rustBatch_error_paused")
  expect_match(conditionMessage(error), "startServer(cluster)", fixed = TRUE)
  expect_error(registerDoRustBatch(cluster), class = "rustBatch_error_paused")
  expect_match(format(cluster)[1], "its server has been stopped")
  startServer(cluster)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("a worker that is asked to end finishes what it works on", {
  cluster <- local_docker(2)
  id <- id_of(cluster)
  later(1, paste("docker kill --signal TERM", workers_of(id)[1]))
  found <- foreach(i = 1:100, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
    Sys.sleep(0.05)
    i
  }
  expect_identical(found, 1:100)
})

test_as_user("a task that wants more memory than its container has says so", {
  local_docker(1, memory = "256m")
  error <- tryCatch(
    foreach(i = 1) %dopar% length(rnorm(1e8)),
    rustBatch_error_crash = identity
  )
  expect_s3_class(error, "rustBatch_error_crash")
  expect_true(error$oom)
  expect_equal(error$limit, 256 * 2^20)
  expect_gt(error$peak, 200 * 2^20)
  # The worker lives on.
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("a cluster grows and shrinks while a loop runs", {
  cluster <- local_docker(2)
  id <- id_of(cluster)
  script <- tempfile(fileext = ".R")
  writeLines(c(
    ".libPaths(commandArgs(TRUE)[1]); suppressMessages(library(rustBatch))",
    "cluster <- suppressMessages(getCluster(commandArgs(TRUE)[2]))",
    "resizeCluster(cluster, 5)",
    "while (getWorkerNumbers(cluster)$running < 5) Sys.sleep(0.1)",
    "Sys.sleep(1)",
    "resizeCluster(cluster, 1)"
  ), script)
  rscript <- file.path(R.home("bin"), "Rscript")
  library <- dirname(system.file(package = "rustBatch"))
  system2(rscript, c(script, library, id), wait = FALSE, stdout = FALSE, stderr = FALSE)
  found <- foreach(i = 1:600, .combine = rbind, .options.rustBatch = chunks_of(1)) %dopar% {
    Sys.sleep(0.1)
    data.frame(i = i, host = Sys.info()[["nodename"]])
  }
  expect_identical(found$i, 1:600)
  expect_gte(length(unique(found$host)), 5)
  expect_true(wait_until(length(workers_of(id)) == 1L, 60))
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("a cluster outlives the R that is killed, is found by name, and ends by itself", {
  skip_without_docker()
  script <- tempfile(fileext = ".R")
  writeLines(c(
    ".libPaths(commandArgs(TRUE)[1]); suppressMessages(library(rustBatch))",
    sprintf("cluster <- makeCluster(%s)", paste(deparse(in_docker(
      2, name = "orphan", idleTimeout = 8
    )), collapse = "")),
    "cat(rustBatch:::cluster_describe(cluster$pointer)$id, sep = '\\n')",
    "tools::pskill(Sys.getpid(), 9L)"
  ), script)
  rscript <- file.path(R.home("bin"), "Rscript")
  library <- dirname(system.file(package = "rustBatch"))
  id <- suppressWarnings(system2(rscript, c(script, library), stdout = TRUE, stderr = FALSE))
  id <- id[length(id)]
  # Others may have clusters here.
  at_end(bquote(rustBatch::cleanupClusters(cluster = .(id))), environment())
  expect_true(id %in% getClusterList()$cluster)
  expect_length(workers_of(id), 2)

  cluster <- suppressMessages(getCluster("orphan"))
  registerDoRustBatch(cluster)
  expect_identical(foreach(i = 1:50, .combine = c) %dopar% i, 1:50)
  # The handle is forgotten, not the cluster.
  rustBatch:::cluster_stop(cluster$pointer, TRUE)
  foreach::registerDoSEQ()
  expect_length(workers_of(id), 2)
  expect_true(wait_until(length(containers_of(id)) == 0L, 120))
})

test_as_user("a loop whose cluster somebody else stops ends, and makes it not again", {
  skip_without_docker()
  client <- start_r(spec = in_docker(1), body = quote({
    cluster <- suppressMessages(makeCluster(spec))
    registerDoRustBatch(cluster)
    say("id", rustBatch:::cluster_describe(cluster$pointer)$id)
    ended <- tryCatch(
      foreach(i = 1:1000) %dopar% Sys.sleep(0.1),
      error = function(e) c(class(e)[1], conditionMessage(e))
    )
    say("ended", ended)
  }))
  id <- client$said("id", 60)
  stopCluster(suppressMessages(getCluster(id)))
  ended <- client$said("ended", 90)
  expect_identical(ended[1], "rustBatch_error_lost")
  expect_match(ended[2], "stopped by another R session", fixed = TRUE)
  expect_true(nothing_left(id))
})

test_as_user("a cluster ends with its R, or stays where that is wanted", {
  skip_without_docker()
  rscript <- file.path(R.home("bin"), "Rscript")
  library <- dirname(system.file(package = "rustBatch"))
  for (stop in c(TRUE, FALSE)) {
    script <- tempfile(fileext = ".R")
    writeLines(c(
      ".libPaths(commandArgs(TRUE)[1]); suppressMessages(library(rustBatch))",
      sprintf("cluster <- makeCluster(%s)", paste(deparse(in_docker(
        1, stopOnExit = stop
      )), collapse = "")),
      "cat(rustBatch:::cluster_describe(cluster$pointer)$id, sep = '\\n')"
    ), script)
    id <- suppressWarnings(system2(rscript, c(script, library), stdout = TRUE, stderr = FALSE))
    id <- id[length(id)]
    expect_identical(nothing_left(id), stop)
    if (!stop) {
      stopCluster(suppressMessages(getCluster(id)))
      expect_true(nothing_left(id))
    }
  }
})

test_as_user("no secret of a cluster is seen anywhere", {
  cluster <- local_docker(1)
  id <- id_of(cluster)
  foreach(i = 1) %dopar% i
  record <- containers_of(id, "rustbatch.role=record", all = TRUE)
  file <- tempfile()
  docker("cp", paste0(record, ":/rustbatch-record"), file)
  text <- readLines(file, warn = FALSE)
  unlink(file)
  secrets <- regmatches(text, gregexpr("[0-9a-f]{64}", text))[[1]]
  # The cluster's key and the passwords of two users at least.
  expect_gte(length(unique(secrets)), 3)
  named <- containers_of(id, all = TRUE)
  saved <- tempfile()
  saveRDS(cluster, saved, compress = FALSE)
  pids <- list.files("/proc", "^[0-9]+$")
  read <- function(path) {
    bytes <- suppressWarnings(tryCatch(readBin(path, "raw", 1e6), error = function(e) raw()))
    rawToChar(bytes[bytes != 0])
  }
  seen <- c(
    unlist(lapply(named, function(name) docker("inspect", name))),
    unlist(lapply(named, function(name) docker("logs", name))),
    docker("network", "inspect", paste0("rustbatch-", id)),
    vapply(file.path("/proc", pids, "environ"), read, ""),
    vapply(file.path("/proc", pids, "cmdline"), read, ""),
    capture.output(print(cluster)), capture.output(str(cluster)), format(cluster),
    read(saved)
  )
  for (secret in unique(secrets)) {
    expect_false(any(grepl(secret, seen, fixed = TRUE, useBytes = TRUE)))
  }
})

test_as_user("what a cluster in containers can't be is said before anything starts", {
  skip_without_docker()
  refused <- function(code) tryCatch(code, rustBatch_error = function(e) class(e)[1])
  expect_identical(refused(getCluster("no-such-cluster")), "rustBatch_error_no_cluster")
  expect_identical(refused(getCluster(NA_character_)), "rustBatch_error_no_cluster")
  expect_identical(
    refused(makeCluster(dockerCluster(1, image = "no.such.host.invalid/r:1"))),
    "rustBatch_error_image"
  )
  with_path <- function(path, code) {
    local_environment(c(PATH = path))
    code
  }
  expect_identical(
    with_path(tempdir(), refused(makeCluster(in_docker(1)))), "rustBatch_error_docker_missing"
  )
  start <- function(...) refused(makeCluster(dockerCluster(1, ...)))
  expect_identical(start(memory = "lots"), "rustBatch_error_config")
  expect_identical(start(context = "none"), "rustBatch_error_provision")
  cluster <- local_docker(1)
  expect_identical(refused(resizeCluster(cluster, 2.5)), "rustBatch_error_workers")
  expect_identical(refused(resizeCluster(cluster)), "rustBatch_error_workers")
  expect_identical(refused(resizeCluster(cluster, min = 3, max = 2)), "rustBatch_error_workers")
  expect_identical(refused(resizeCluster(cluster, min = 0)), "rustBatch_error_workers")
  for (worker in list(7, -1, 1.5, NA, "none")) {
    expect_identical(refused(clusterLogs(cluster, worker)), "rustBatch_error_no_worker")
  }
})

test_as_user("a start that takes too long says what the workers were doing, and leaves nothing", {
  skip_without_docker()
  spec <- in_docker(1, name = "late", commandLine = "sleep 300", startTimeout = 10)
  error <- expect_error(suppressMessages(makeCluster(spec)), class = "rustBatch_error_timed_out")
  expect_match(conditionMessage(error), "running command line 1 of 1", fixed = TRUE)
  expect_length(grep("^late-", getClusterList()$cluster), 0L)
})

test_as_user("what only resembles ours is not touched", {
  skip_without_docker()
  name <- paste0("rustbatch-stranger-", Sys.getpid())
  docker("create", "--name", name, "--label", "rustbatch.cluster=web", images[["r"]], "true")
  at_end(bquote(docker("rm", .(name))), environment())
  expect_false("web" %in% getClusterList()$cluster)
  expect_identical(cleanupClusters(cluster = "web"), character())
  expect_error(cleanupClusters(olderThan = "100"), class = "rustBatch_error_config")
  expect_error(cleanupClusters(olderThan = NA), class = "rustBatch_error_config")
})
