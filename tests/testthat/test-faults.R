# What a loop does when R, a worker or the client is killed or halted by somebody else, or when
# clocks are wrong.

# Chances that `RUSTBATCH_SEED` repeats. Returns the seed in words.
seed_chances <- function() {
  seed <- as.numeric(Sys.getenv("RUSTBATCH_SEED", "20")) %% 1e6
  set.seed(seed)
  paste("RUSTBATCH_SEED =", seed)
}

# Runs a loop of `tasks` tasks of 50 ms on `slots` slots in an R of its own, and goes on when it has
# begun. `ran` notes every run of a task; `value()` waits for the loop's value, and its end.
start_loop <- function(slots, tasks, frame = parent.frame()) {
  skip_without_redis()
  ran <- tempfile("ran-")
  script <- start_r(ran = ran, slots = slots, tasks = tasks, frame = frame, body = quote({
    cluster <- makeCluster(slots)
    registerDoRustBatch(cluster)
    messages <- character()
    value <- withCallingHandlers(
      foreach(i = seq_len(tasks), .combine = c) %dopar% {
        cat("x\n", file = ran, append = TRUE)
        Sys.sleep(0.05)
        i
      },
      message = function(m) messages <<- c(messages, conditionMessage(m))
    )
    say("value", list(value = value, messages = messages))
    stopCluster(cluster)
    say("over")
  }))
  expect_true(wait_until(file.exists(ran), 20))
  script$runs <- function() length(readLines(ran))
  script$value <- function() {
    value <- script$said("value", 60)
    script$said("over")
    value
  }
  script
}

# Waits until there is another process in the place of each of `before`.
expect_replaced <- function(before, find, within = 5) {
  expect_true(wait_until(length(setdiff(find(), before)) >= length(before), within))
}

# R processes ----

test_as_user("twenty R processes killed at random lose no task and double none", {
  script <- start_loop(4, 400)
  worker <- worker_process(script$pid)
  evaluators <- function() {
    all <- processes()
    all$pid[all$parent == worker]
  }
  seeded <- seed_chances()
  seen <- numeric()
  for (k in 1:20) {
    Sys.sleep(runif(1, 0, 0.2))
    if (script$has_said("value")) break
    victim <- evaluators()[sample.int(4L, 1L)]
    tools::pskill(victim, 9L)
    # Another one in its place shows that the death was seen.
    replaced <- function() length(setdiff(evaluators(), victim)) == 4L
    seen[k] <- seconds(expect_true(wait_until(replaced(), 5)))
  }
  expect_identical(script$value()$value, 1:400, info = seeded)
  expect_length(seen, 20L)
  expect_lt(quantile(seen, 0.95), 1)
  # What was killed was done again, and little else.
  expect_gte(script$runs(), 400L)
})

# Halts the process whose number a task writes into `begun`, for some seconds.
halt <- function(begun, for_seconds, pid = sprintf("$(cat '%s')", begun)) {
  system(sprintf(
    "(while [ ! -s '%s' ]; do sleep 0.02; done; kill -STOP %s; sleep %g; kill -CONT %s)",
    begun, pid, for_seconds, pid
  ), wait = FALSE)
}

test_as_user("an R process that halts for some seconds goes on", {
  local_cluster(2)
  begun <- tempfile("begun-")
  halt(begun, 3)
  single <- chunks_of(1)
  took <- seconds(values <- foreach(i = 1:8, .combine = c, .options.rustBatch = single) %dopar% {
    if (i == 3) {
      writeLines(as.character(Sys.getpid()), paste0(begun, ".new"))
      file.rename(paste0(begun, ".new"), begun)
      Sys.sleep(0.2)
    }
    i
  })
  expect_identical(values, 1:8)
  expect_gt(took, 2.5)
  expect_lt(took, 10)
})

# Workers ----

test_as_user("a worker that halts beyond its lease goes on, and three tasks give three values", {
  local_cluster(2)
  begun <- tempfile("begun-")
  # The lease is 15 s.
  halt(begun, 35, pid = worker_process())
  values <- foreach(i = 1:3, .options.rustBatch = chunks_of(1)) %dopar% {
    file.create(paste0(begun, i))
    if (i == 1) writeLines("x", begun)
    Sys.sleep(c(10, 2, 0)[i])
    i * 10
  }
  expect_identical(values, list(10, 20, 30))
  expect_identical(foreach(i = 1:4, .combine = c) %dopar% i, 1:4)
})

test_as_user("a loop goes on when its worker is killed under it", {
  cluster <- local_cluster(2)
  begun <- tempfile("begun-")
  worker <- worker_process()
  system(sprintf(
    "(while [ ! -e '%s' ]; do sleep 0.02; done; kill -9 %d)", begun, worker
  ), wait = FALSE)
  took <- seconds(values <- foreach(i = 1:20, .combine = c) %dopar% {
    if (i == 5 && file.create(begun)) Sys.sleep(1)
    i
  })
  expect_identical(values, 1:20)
  # Nobody waits for the lease of a process that is known to be dead.
  expect_lt(took, 8)
  expect_false(worker %in% worker_process())
})

test_as_user("four kills of the worker at random lose no task and double none", {
  script <- start_loop(3, 300)
  seeded <- seed_chances()
  find <- function() worker_process(script$pid)
  for (k in 1:4) {
    Sys.sleep(runif(1, 0, 0.5))
    expect_true(wait_until(length(before <- find()) == 1L, 5))
    tools::pskill(before, 9L)
    expect_replaced(before, find)
  }
  expect_identical(script$value()$value, 1:300, info = seeded)
})

test_as_user("a loop whose worker is killed again and again says how much of it was done", {
  skip_without_redis()
  script <- start_r(body = quote({
    cluster <- makeCluster(2)
    registerDoRustBatch(cluster)
    error <- tryCatch(
      foreach(i = 1:1000, .options.rustBatch = list(chunkSize = 1)) %dopar% Sys.sleep(0.1),
      rustBatch_error_lost = function(e) e
    )
    say("error", error[c("message", "finished", "open")])
    stopCluster(cluster)
    say("over")
  }))
  find <- function() worker_process(script$pid)
  for (k in 1:6) {
    expect_true(wait_until(length(before <- find()) == 1L, 10))
    # It has done something by then.
    Sys.sleep(0.7)
    tools::pskill(before, 9L)
    expect_gone(before)
  }
  error <- script$said("error")
  expect_match(error$message, "started again 5 times within 60 s", fixed = TRUE)
  expect_gt(error$finished, 0)
  expect_identical(error$finished + error$open, 1000)
  script$said("over")
})

test_as_user("a loop goes on when what supervises its private Redis is killed, twice", {
  script <- start_loop(2, 200)
  find <- function() {
    intersect(running("rustbatch-worker server"), cluster_processes(script$pid))
  }
  for (k in 1:2) {
    before <- find()
    expect_length(before, 1L)
    runs <- script$runs()
    tools::pskill(before, 9L)
    expect_gone(before)
    expect_replaced(before, find)
    # With new workers, which know the new server.
    expect_true(wait_until(script$runs() > runs + 20L, 10))
  }
  done <- script$value()
  expect_identical(done$value, 1:200)
  # Nothing is told but that the queue was lost.
  expect_match(done$messages, "^Redis has lost the queue: [0-9]+ tasks were published again\n$")
})

test_as_user("a server that is replaced has a new address, and the cluster is not lost meanwhile", {
  cluster <- local_cluster(2)
  big <- as.numeric(1:1e6)
  expect_identical(foreach(i = 1, .combine = c) %dopar% sum(big), sum(big))
  before <- server_folder(cluster)
  supervisor <- intersect(running("rustbatch-worker server"), cluster_processes())
  tools::pskill(supervisor, 9L)
  # What is sent meanwhile waits, also what Redis knew already.
  expect_identical(foreach(i = 1:4, .combine = c) %dopar% (sum(big) + i), sum(big) + 1:4)
  expect_output(print(cluster), ": running")
  expect_false(server_folder(cluster) == before)
  expect_false(dir.exists(before))
  family <- cluster_processes()
  stopCluster(cluster)
  expect_gone(family)
})

test_as_user("what a task has left running ends with the worker that is killed", {
  skip_without_proc()
  local_cluster(1)
  worker <- worker_process()
  pid <- foreach(i = 1, .combine = c) %dopar% {
    # In a session of its own, as a daemon is.
    as.integer(system("setsid sleep 6173 >/dev/null 2>&1 & echo $!", intern = TRUE))
  }
  left <- running("sleep 6173")
  expect_true(length(left) > 0L)
  tools::pskill(worker, 9L)
  expect_gone(left)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("a cluster leaves neither files nor commands of its tasks, however it ends", {
  skip_without_proc()
  ends <- list(
    quote(stopCluster(cluster)),
    quote({
      registerDoSEQ()
      rm(cluster)
      gc()
    }),
    quote(stop("the script fails")),
    quote(tools::pskill(Sys.getpid(), 9L))
  )
  for (end in ends) {
    script <- start_r(end = end, body = quote({
      cluster <- makeCluster(1)
      registerDoRustBatch(cluster)
      left <- foreach(i = 1) %dopar% {
        writeLines("x", tempfile())
        # One in a session of its own, as a daemon has.
        quiet <- ">/dev/null 2>&1 & echo $!;"
        pids <- system(paste("sleep 6174", quiet, "setsid sleep 6174", quiet), intern = TRUE)
        list(folder = tempdir(), pids = as.integer(pids))
      }
      say("left", left[[1]])
      eval(end)
      say("over")
    }))
    left <- script$said("left")
    expect_gone(left$pids)
    expect_true(wait_until(!dir.exists(left$folder), 5))
  }
})

# The client ----

# The processes that were started with this variable in their environment.
started_with <- function(variable) {
  has_it <- function(pid) {
    file <- file.path("/proc", pid, "environ")
    bytes <- tryCatch(suppressWarnings(readBin(file, "raw", 1e5)), error = function(e) raw())
    bytes[bytes == 0] <- charToRaw("\n")
    grepl(variable, rawToChar(bytes), fixed = TRUE)
  }
  Filter(has_it, processes()$pid)
}

test_as_user("a client that is killed at any moment of makeCluster() leaves nothing", {
  skip_without_redis()
  skip_without_proc()
  seeded <- seed_chances()
  for (k in 1:12) {
    place <- tempfile("place-")
    dir.create(place)
    begun <- file.path(place, "begun")
    code <- sprintf(
      ".libPaths(%s); library(rustBatch); file.create('%s'); makeCluster(2); Sys.sleep(60)",
      paste(deparse(.libPaths()), collapse = ""), begun
    )
    variable <- paste0("TMPDIR=", place)
    system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", "-e", shQuote(code)),
      env = c(variable, "XDG_RUNTIME_DIR="), wait = FALSE, stdout = FALSE, stderr = FALSE
    )
    expect_true(wait_until(file.exists(begun), 20))
    client <- setdiff(started_with(variable), running("rustbatch-worker"))
    # Most of it happens in the first 200 ms.
    Sys.sleep(runif(1, 0, 0.25))
    tools::pskill(client, 9L)
    gone <- wait_until(length(started_with(variable)) == 0L, 10)
    expect_true(gone, info = paste(seeded, "round", k))
    left <- list.files(place, pattern = "^rustBatch-")
    expect_identical(left, character(), info = paste(seeded, "round", k))
  }
})

# Versions ----

test_that("a worker and a client of different versions say so, both, at once", {
  skip_without_redis()
  real <- worker_executable()
  version <- as.character(utils::packageVersion("rustBatch"))
  # The worker as it sees a client that is newer, older, or so old that it says nothing of itself.
  for (client in c("9.8.7", "0.0.1", "an unknown version")) {
    program <- tempfile("worker-")
    line <- if (client == "an unknown version") "" else sprintf("\"version\":\"%s\",", client)
    writeLines(c(
      "#!/bin/sh",
      sprintf("if [ $1 = server ]; then exec '%s' server; fi", real),
      sprintf("edit='s/\"version\":\"[^\"]*\",/%s/; s/{/{\"new\":[1],/'", line),
      "mkfifo $0.told",
      "read -r line",
      "exec 3<&0",
      "(printf '%s\\n' \"$line\" | sed \"$edit\"; exec cat <&3) 2>/dev/null >$0.told &",
      sprintf("exec '%s' \"$@\" 3<&- <$0.told", real)
    ), program)
    Sys.chmod(program, "0755")
    before <- cluster_processes()
    took <- seconds(error <- expect_error(
      await_cluster(cluster_begin(wanted_cluster(1, list()), c(program, programs()[-1]))),
      class = "rustBatch_error_provision"
    ))
    expect_lt(took, 10)
    expect_match(conditionMessage(error), fixed = TRUE, sprintf(
      "this worker is rustBatch %s, the client that wants it is %s", version, client
    ))
    expect_identical(setdiff(cluster_processes(), before), integer())
  }
})

# Clocks ----

test_as_user("clocks that are wrong, and that jump, change nothing", {
  faketime <- Sys.glob("/usr/lib/*/faketime/libfaketime.so.1")
  skip_if(length(faketime) == 0L, "there is no libfaketime")
  offset <- tempfile("offset-")
  writeLines("-3d", offset)
  # Redis does not start under it.
  port <- local_redis()
  # The worker and all R processes three days behind the client.
  Sys.setenv(
    LD_PRELOAD = faketime[1], FAKETIME_TIMESTAMP_FILE = offset, FAKETIME_NO_CACHE = "1",
    FAKETIME_DONT_FAKE_MONOTONIC = "1"
  )
  at_end(quote(Sys.unsetenv(
    c("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC")
  )))
  local_cluster(2, redis = sprintf("redis://127.0.0.1:%d", port))
  there <- foreach(i = 1, .combine = c) %dopar% as.numeric(Sys.time())
  expect_lt(abs(as.numeric(Sys.time()) - there - 3 * 86400), 3600)
  values <- foreach(i = 1:60, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
    # In the middle of the loop an hour passes, then two days. (Backwards, R itself would sleep on.)
    if (i == 20) writeLines("-71h", offset)
    if (i == 40) writeLines("-1d", offset)
    Sys.sleep(0.05)
    i
  }
  expect_identical(values, 1:60)
  set.seed(1)
  expect_length(foreach(i = 1:4, .combine = c) %dopar% rnorm(1), 4L)
})
