# %dopar% on a cluster: values, errors, crashes, and what ends a loop early.

# Values ----

test_as_user("values come as a list, or combined", {
  local_cluster()
  expect_identical(foreach(i = 1:3) %dopar% i^2, list(1, 4, 9))
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i^2, c(1, 4, 9))
  expect_identical(foreach(i = 1:3, .combine = rbind) %dopar% c(i, -i), cbind(1:3, -(1:3)),
    ignore_attr = TRUE
  )
  expect_identical(foreach(i = 1:2) %dopar% NULL, list(NULL, NULL))
  expect_identical(foreach(i = integer()) %dopar% i, list())
  expect_identical(foreach(x = c(1, 2), .combine = c, .final = sum) %dopar% x, 3)
})

test_as_user("ten thousand tasks come once each and in order", {
  local_cluster()
  expect_identical(foreach(i = 1:10000, .combine = c) %dopar% i, 1:10000)
  expect_identical(
    foreach(i = 1:500, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% i, 1:500
  )
})

test_as_user("values of some megabytes come whole", {
  local_cluster()
  big <- foreach(i = 1:3) %dopar% rep(i, 2e6)
  expect_identical(big, lapply(1:3, rep, 2e6))
})

test_as_user("what can't be serialized is an error of its task alone", {
  local_cluster()
  bad <- foreach(i = 1:3, .errorhandling = "pass") %dopar% {
    if (i == 2) getNativeSymbolInfo("R_alloc")$address else i
  }
  expect_identical(bad[c(1, 3)], list(1L, 3L))
})

# Errors ----

test_as_user("the error of the lowest task ends the loop, worded as in foreach", {
  local_cluster()
  fail <- function(x) stop("no ", x)
  error <- expect_error(
    foreach(i = 1:8, .options.rustBatch = chunks_of(2)) %dopar% if (i > 4) fail(i) else i,
    class = "rustBatch_error_task"
  )
  expect_identical(conditionMessage(error), "task 5 failed - \"no 5\"")
  expect_s3_class(error, c("rustBatch_error", "simpleError"))
  expect_identical(conditionMessage(error$parent), "no 5")
  expect_equal(error$task, 5)
  expect_type(error$worker, "character")
  expect_true("fail(i)" %in% error$calls)
  expect_identical(foreach(i = 1:8, .combine = c) %dopar% i, 1:8)
})

test_as_user("errors are removed, or passed", {
  local_cluster()
  removed <- foreach(i = 1:4, .combine = c, .errorhandling = "remove") %dopar% {
    if (i == 2) stop("no")
    i
  }
  expect_identical(removed, c(1L, 3L, 4L))
  passed <- foreach(i = 1:4, .errorhandling = "pass") %dopar% {
    if (i == 2) stop("no")
    i
  }
  expect_identical(passed[-2], list(1L, 3L, 4L))
  expect_identical(conditionMessage(passed[[2]]), "no")
})

test_as_user("a condition with fields keeps them", {
  local_cluster(1)
  passed <- foreach(1, .errorhandling = "pass") %dopar% {
    fields <- list(message = "m", call = NULL, n = 7)
    stop(structure(class = c("mine", "error", "condition"), fields))
  }
  expect_s3_class(passed[[1]], "mine")
  expect_identical(passed[[1]]$n, 7)
})

test_as_user("a missing package is an error that names it and the worker", {
  local_cluster()
  for (handling in c("stop", "remove", "pass")) {
    error <- expect_error(
      foreach(i = 1:3, .packages = "no.such.package", .errorhandling = handling) %dopar% i,
      class = "rustBatch_error_context"
    )
    expect_match(conditionMessage(error), "no.such.package", fixed = TRUE)
    expect_match(conditionMessage(error), error$worker, fixed = TRUE)
  }
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("options of a loop are checked", {
  local_cluster(1)
  for (wrong in list(0, -1, 2.5, NA, "many", c(1, 2), Inf)) {
    expect_error(
      foreach(i = 1:3, .options.rustBatch = list(chunkSize = wrong)) %dopar% i,
      class = "rustBatch_error_config"
    )
  }
  expect_warning(
    foreach(i = 1:3, .options.rustBatch = list(chunksize = 1)) %dopar% i, "chunksize"
  )
})

# Crashes ----

test_as_user("a task that ends R is an error of its own, its neighbours are unharmed", {
  local_cluster()
  deaths <- list(quote(quit("no", 3)), quote(tools::pskill(Sys.getpid(), 9L)))
  for (death in deaths) {
    values <- eval(bquote(
      foreach(i = 1:12, .errorhandling = "pass", .options.rustBatch = chunks_of(4)) %dopar% {
        if (i == 6) .(death)
        i
      }
    ))
    expect_identical(values[-6], as.list(1:12)[-6])
    expect_s3_class(values[[6]], "rustBatch_error_crash")
  }
  expect_identical(values[[6]]$signal, 9L)
  expect_identical(values[[6]]$signalName, "SIGKILL")
  expect_match(conditionMessage(values[[6]]), "SIGKILL")
})

test_as_user("a crash has its cause, its last words, and obeys .errorhandling", {
  local_cluster()
  capture.output(type = "message", error <- expect_error(
    foreach(i = 1:2) %dopar% {
      if (i == 2) {
        cat("last words\n", file = stderr())
        quit("no", 3)
      }
      i
    },
    "status 3.*last words"
  ))
  expect_s3_class(error$parent, "rustBatch_error_crash")
  expect_identical(error$parent$exit, 3L)
  removed <- foreach(i = 1:3, .combine = c, .errorhandling = "remove") %dopar% {
    if (i == 2) quit("no")
    i
  }
  expect_identical(removed, c(1L, 3L))
})

test_as_user("a task that kills R alone is tried three times, an ordinary error once", {
  local_cluster()
  tried <- tempfile("tried-")
  foreach(i = 1:4, .errorhandling = "pass", .options.rustBatch = chunks_of(1)) %dopar% {
    cat(sprintf("%d\n", i), file = tried, append = TRUE)
    if (i == 2) quit("no")
    if (i == 3) stop("no")
    i
  }
  expect_identical(tabulate(as.integer(readLines(tried)), 4), c(1L, 3L, 1L, 1L))
})

test_as_user("a loop whose server is killed again and again is an error, with the reason", {
  skip_if_not(nzchar(Sys.which("pgrep")))
  local_cluster(1)
  begun <- tempfile("begun-")
  # What supervises the server, each time another one, six times.
  system(sprintf(
    paste(
      "(while [ ! -e %s ]; do sleep 0.02; done; n=0; last=none; while [ $n -lt 6 ]; do",
      "new=$(pgrep -P %d -f 'rustbatch-worker server');",
      "if [ -n \"$new\" ] && [ \"$new\" != \"$last\" ];",
      "then kill -9 $new; last=$new; n=$((n + 1)); fi; sleep 0.05; done)"
    ), begun, Sys.getpid()
  ), wait = FALSE)
  took <- seconds(error <- expect_error(
    foreach(1:2) %dopar% {
      file.create(begun)
      Sys.sleep(60)
    },
    class = "rustBatch_error_lost"
  ))
  said <- conditionMessage(error)
  expect_match(said, "private Redis.*signal.*9.*started again 5 times within 60 s")
  expect_identical(error[c("finished", "open")], list(finished = 0, open = 2))
  expect_lt(took, 40)
})

# Ctrl-C ----

test_as_user("SIGINT ends a script within two seconds, and leaves nothing", {
  skip_without_redis()
  script <- start_r(quote({
    cluster <- makeCluster(2)
    registerDoRustBatch(cluster)
    foreach(1:2) %dopar% 1
    say("family", tree())
    foreach(1:4) %dopar% {
      file.create(begun)
      Sys.sleep(60)
    }
  }), begun = tempfile("begun-"))
  family <- script$said("family")
  begun <- readRDS(script$task)$variables$begun
  expect_true(wait_until(file.exists(begun), 10))
  tools::pskill(script$pid, tools::SIGINT)
  expect_gone(family, within = 2)
})

test_as_user("Ctrl-C at a terminal gives the prompt back, and the next loop works", {
  skip_without_redis()
  terminal <- local_terminal()
  begun <- tempfile("begun-")
  result <- tempfile("result-", fileext = ".rds")
  terminal$type(sprintf(".libPaths(%s)", deparse(.libPaths()[1])))
  terminal$type("suppressMessages(library(rustBatch))")
  terminal$type("cluster <- makeCluster(2); registerDoRustBatch(cluster)")
  terminal$type(sprintf("foreach(1:4) %%dopar%% {file.create('%s'); Sys.sleep(60)}", begun))
  expect_true(wait_until(file.exists(begun), 20))
  terminal$forget()
  terminal$press("\003")
  expect_true(wait_until(terminal$shows("> "), 2))
  terminal$type(sprintf("saveRDS(foreach(i = 1:4, .combine = c) %%dopar%% i, '%s')", result))
  expect_true(wait_until(file.exists(result) && file.size(result) > 0, 3))
  expect_identical(readRDS(result), 1:4)
})

test_that("a task whose host was lost each time is an error that says so", {
  lost <- function(why) {
    report <- list(times = 6L, why = why)
    event_values(list(kind = "lost", report = report, worker = "w1"))$values[[1]]
  }
  value <- lost("")
  expect_s3_class(value, "rustBatch_error_lost")
  expect_match(conditionMessage(value), "host was lost 6 times\n", fixed = TRUE)
  value <- lost("it was evicted")
  expect_match(conditionMessage(value), "6 times; the last time: it was evicted\n", fixed = TRUE)
  expect_identical(value$why, "it was evicted")
  expect_identical(value$worker, "w1")
})

test_that("a chunk that its worker gave up is an error of each of its tasks that says why", {
  event <- list(
    kind = "given_up", report = "no room on the disk", tasks = c(4, 5), worker = "w1", attempt = 3L
  )
  values <- event_values(event)$values
  expect_length(values, 2L)
  expect_s3_class(values[[2]], c("rustBatch_error_given_up", "rustBatch_error"))
  said <- conditionMessage(values[[2]])
  expect_match(said, "gave the task up: no room on the disk\n", fixed = TRUE)
  expect_identical(values[[2]]$why, "no room on the disk")
  expect_identical(values[[2]]$worker, "w1")
})
