# Clusters: how they are asked for, looked at, and how they end.

# Forms ----

test_as_user("makeCluster() with nothing has an R process for each processor", {
  cluster <- local_cluster(NULL)
  expect_gte(getDoParWorkers(), 1L)
  expect_lte(getDoParWorkers(), parallel::detectCores())
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("makeCluster() takes a number, a list, fields, and a file", {
  slots <- function(...) {
    cluster <- makeCluster(...)
    on.exit(stopCluster(cluster))
    registerDoRustBatch(cluster)
    expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
    getDoParWorkers()
  }
  skip_without_redis()
  at_end(quote(foreach::registerDoSEQ()), environment())
  expect_identical(slots(2), 2L)
  expect_identical(slots(2L), 2L)
  expect_identical(slots(list(provider = "local", workers = 1, slots = 2)), 2L)
  expect_identical(slots(list(workers = 1), slots = 3), 3L)
  expect_identical(slots(workers = 1, name = "a-name"), 1L)
  file <- tempfile(fileext = ".json")
  writeLines('{"provider": "local", "workers": 2, "slots": 1}', file)
  expect_identical(slots(file), 2L)
})

test_as_user("print() shows a cluster, and no secret", {
  cluster <- local_cluster(2, name = "seen")
  expect_output(print(cluster), "<rustBatch cluster> seen: running\n  2 R processes on this")
  expect_output(print(cluster), "Redis at unix:/.*redis.sock")
  capture.output(expect_invisible(print(cluster)))
  stopCluster(cluster)
  expect_output(print(cluster), "seen: stopped")
})

# The end ----

test_as_user("stopCluster() ends every process, and may be called twice", {
  cluster <- local_cluster()
  foreach(1:2) %dopar% 1
  family <- cluster_processes()
  # Two workers' supervisors, a server, two R processes.
  expect_gte(length(family), 5L)
  folder <- server_folder(cluster)
  expect_true(dir.exists(folder))
  expect_invisible(stopCluster(cluster))
  expect_null(stopCluster(cluster))
  expect_gone(family, within = 3)
  expect_false(dir.exists(folder))
})

test_as_user("a function may stop its cluster in on.exit()", {
  skip_without_redis()
  family <- NULL
  work <- function(fails) {
    cluster <- makeCluster(1)
    on.exit(stopCluster(cluster))
    registerDoRustBatch(cluster)
    family <<- cluster_processes()
    foreach(i = 1:2, .combine = c) %dopar% if (fails) stop("no") else i
  }
  at_end(quote(foreach::registerDoSEQ()), environment())
  expect_identical(work(FALSE), 1:2)
  expect_gone(family)
  expect_error(work(TRUE), "no")
  expect_gone(family)
})

test_as_user("a cluster to which nothing refers is stopped by the garbage collector", {
  skip_without_redis()
  cluster <- makeCluster(1)
  family <- cluster_processes()
  folder <- server_folder(cluster)
  rm(cluster)
  gc()
  expect_gone(family)
  expect_false(dir.exists(folder))
})

test_as_user("a registered cluster stays", {
  skip_without_redis()
  at_end(quote(foreach::registerDoSEQ()), environment())
  registerDoRustBatch(makeCluster(1))
  gc()
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
  family <- cluster_processes()
  registerDoSEQ()
  gc()
  expect_gone(family)
})

# A script whose cluster is there when it says so; what it does then is `ending`.
script_with_cluster <- function(ending, frame = parent.frame()) {
  skip_without_redis()
  start_r(frame = frame, body = bquote({
    cluster <- makeCluster(2)
    registerDoRustBatch(cluster)
    foreach(1:2) %dopar% 1
    say("folder", dirname(sub("^unix:", "", rustBatch:::cluster_describe(cluster$pointer)$server)))
    say("family", tree())
    .(ending)
  }))
}

endings <- list(
  "the end of the script" = quote(NULL),
  "q()" = quote(q("no", 3)),
  "an error" = quote(stop("no"))
)
for (ending in names(endings)) {
  test_as_user(paste("nothing is left after", ending), {
    script <- script_with_cluster(endings[[ending]])
    family <- script$said("family")
    expect_gte(length(family), 6L)
    expect_gone(family)
    expect_false(dir.exists(script$said("folder")))
    if (ending != "an error") expect_length(grep("rror", script$log()), 0L)
  })
}

test_as_user("nothing is left after kill -9 of the client", {
  script <- script_with_cluster(quote(foreach(1:4) %dopar% Sys.sleep(60)))
  family <- script$said("family")
  tools::pskill(script$pid, 9L)
  expect_gone(family)
  expect_true(wait_until(!dir.exists(script$said("folder")), 5))
})

test_as_user("a forked child leaves its parent's cluster alone", {
  skip_on_os("windows")
  cluster <- local_cluster(1)
  family <- cluster_processes()
  child <- parallel::mcparallel({
    stopCluster(cluster)
    tryCatch(foreach(1) %dopar% 1, error = function(e) class(e)[1])
  })
  expect_identical(parallel::mccollect(child)[[1]], "rustBatch_error_forked")
  expect_length(alive(family), length(family))
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

# Death ----

test_as_user("a worker that is killed is started again, with as many R processes", {
  cluster <- local_cluster(2)
  before <- pids()
  old <- worker_process()
  tools::pskill(old, 9L)
  expect_gone(c(old, before))
  # What is published now waits for the new one.
  expect_identical(foreach(i = 1:20, .combine = c) %dopar% i, 1:20)
  expect_length(pids(), 2L)
  expect_length(worker_process(), 1L)
  expect_output(print(cluster), ": running")
  family <- cluster_processes()
  stopCluster(cluster)
  expect_gone(family)
})

test_as_user("a worker that is killed again and again is lost, with its last words", {
  cluster <- local_cluster(1)
  killed <- 0L
  lost <- function() any(grepl(": lost", format(cluster), fixed = TRUE))
  while (killed < 6L && wait_until(length(worker_process()) == 1L, 10)) {
    old <- worker_process()
    tools::pskill(old, 9L)
    killed <- killed + 1L
    expect_gone(old)
  }
  expect_identical(killed, 6L)
  expect_true(wait_until(lost(), 5))
  error <- expect_error(foreach(1) %dopar% 1, class = "rustBatch_error_lost")
  said <- conditionMessage(error)
  expect_match(said, "The cluster is lost: the worker ended: signal: 9 (SIGKILL)", fixed = TRUE)
  expect_match(said, "started again 5 times", fixed = TRUE)
  family <- cluster_processes()
  stopCluster(cluster)
  expect_gone(family)
})

# Beside package parallel ----

test_as_user("parallel::stopCluster() stops ours", {
  cluster <- local_cluster(1)
  family <- cluster_processes()
  parallel::stopCluster(cluster)
  expect_gone(family)
})

test_as_user("makeCluster() and stopCluster() hand clusters of parallel on", {
  theirs <- makeCluster(2, type = "PSOCK")
  expect_s3_class(theirs, "SOCKcluster")
  nodes <- unlist(parallel::clusterCall(theirs, Sys.getpid))
  expect_length(nodes, 2L)
  stopCluster(theirs)
  expect_gone(nodes)
  named <- makeCluster(c("localhost", "localhost"))
  expect_s3_class(named, "SOCKcluster")
  stopCluster(named)
})

# A Redis of one's own ----

test_as_user("with redis = the server is used, cleaned up, and left running", {
  port <- local_redis("--requirepass", "s3cret%")
  url <- sprintf("redis://:s3cret%%25@127.0.0.1:%d", port)
  cluster <- local_cluster(2, redis = url)
  expect_identical(foreach(i = 1:100, .combine = "+") %dopar% i, 5050L)
  big <- runif(1e5)
  expect_identical(foreach(1:2) %dopar% big[1], list(big[1], big[1]))
  shown <- capture.output(print(cluster), str(cluster))
  expect_length(grep("s3cret", c(shown, format(cluster))), 0L)
  expect_length(intersect(running("s3cret"), cluster_processes()), 0L)
  stopCluster(cluster)
  expect_gt(ask_redis(port, "AUTH s3cret%", "DBSIZE") + 1, 0)
  left <- unlist(ask_redis(port, "AUTH s3cret%", "KEYS *"))
  lives <- vapply(left, function(key) ask_redis(port, "AUTH s3cret%", paste("PTTL", key)), 0)
  expect_true(all(lives > 0))
})

test_as_user("a Redis that others can listen to is warned of, once and before it is asked", {
  port <- local_redis()
  # The same server, by an address that is not this machine's own.
  url <- sprintf("redis://0.0.0.0:%d", port)
  said <- signals(cluster <- local_cluster(1, redis = url))
  expect_length(said, 1L)
  expect_match(said, "^warning: The connection to `redis://0.0.0.0:[0-9]+` is not encrypted\n")
  expect_match(said, "password.*rediss://.*ssh -L")
  expect_identical(signals(foreach(i = 1:2) %dopar% i), character())
  stopCluster(cluster)
  warning <- expect_warning(
    expect_error(
      makeCluster(redis = "redis://user:s3cret@no-such-host.invalid"),
      class = "rustBatch_error_unreachable"
    ),
    class = "rustBatch_warning_plain"
  )
  expect_false(grepl("s3cret", conditionMessage(warning)))
  expect_identical(warning$address, "redis://no-such-host.invalid:6379")
  expect_identical(conditionCall(warning)[[1]], quote(makeCluster))
})

test_as_user("a Redis on this machine is not warned of", {
  expect_identical(signals(stopCluster(makeCluster(1))), character())
  port <- local_redis()
  for (host in c("127.0.0.1", "localhost")) {
    url <- sprintf("redis://%s:%d", host, port)
    expect_identical(signals(stopCluster(makeCluster(1, redis = url))), character())
  }
})

# A Redis that dies ----

test_as_user("a loop goes on when its private Redis is killed", {
  cluster <- local_cluster(2)
  redis <- intersect(running("redis-server"), cluster_processes())
  expect_length(redis, 1L)
  begun <- tempfile("begun-")
  system(sprintf(
    "(while [ ! -e %s ]; do sleep 0.02; done; kill -9 %d)", begun, redis
  ), wait = FALSE)
  value <- foreach(i = 1:40, .combine = c, .options.rustBatch = chunks_of(2)) %dopar% {
    if (i == 5) file.create(begun)
    Sys.sleep(0.05)
    i
  }
  expect_identical(value, 1:40)
  expect_output(print(cluster), "running")
  expect_gone(redis)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

# What stays constant ----

test_as_user("fifty loops leave descriptors, memory and processes as they were", {
  skip_without_proc()
  cluster <- local_cluster()
  loop <- function() foreach(i = 1, .combine = c) %dopar% i
  look <- function() {
    gc()
    pids <- c(Sys.getpid(), cluster_processes())
    files <- vapply(pids, function(pid) length(dir(file.path("/proc", pid, "fd"))), 0L)
    memory <- vapply(pids, function(pid) {
      line <- grep("^VmRSS", readLines(file.path("/proc", pid, "status")), value = TRUE)
      as.numeric(gsub("[^0-9]", "", line))
    }, 0)
    threads <- length(dir("/proc/self/task"))
    list(pids = pids, files = files, threads = threads, memory = memory)
  }
  # Until R has compiled what it runs, and its heap has found its size.
  foreach(i = 1:10000) %dopar% i
  for (k in 1:100) loop()
  before <- look()
  for (k in 1:50) loop()
  expect_identical(loop(), 1)
  expect_true(wait_until(identical(look()[1:3], before[1:3]), 5))
  # In kB. The first is this process, where testthat keeps what it was told.
  more <- look()$memory - before$memory
  expect_lt(more[1], 20000)
  expect_lt(max(more[-1]), 2000)
})
