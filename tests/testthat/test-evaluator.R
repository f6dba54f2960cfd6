# The rules between the worker and its R processes (design.md, section 2), each by a task that would
# break what has no such rule.

test_as_user("a task may close all connections, its neighbours and the next loop are right", {
  local_cluster()
  count <- function() foreach(i = 1:4, .combine = c) %dopar% nrow(showConnections())
  before <- count()
  closing <- foreach(i = 1:9, .combine = c, .options.rustBatch = chunks_of(3)) %dopar% {
    closeAllConnections()
    # This one is not closed, and may have the number of a pipe.
    left_open <- textConnection("x")
    i
  }
  expect_identical(closing, 1:9)
  expect_identical(foreach(i = 1:9, .combine = c) %dopar% i, 1:9)
  expect_identical(count(), before)
})

test_as_user("a forked child that answers too is not heard, and does no task of its parent's", {
  local_cluster()
  done <- tempfile("done-")
  values <- foreach(i = 1:8, .combine = c, .options.rustBatch = chunks_of(4)) %dopar% {
    if (i %in% c(2, 7)) parallel:::mcfork(TRUE)
    cat(sprintf("%d\n", i), file = done, append = TRUE)
    i
  }
  expect_identical(values, 1:8)
  # What stands behind the fork in the same task is done twice, and nothing else.
  times <- function() tabulate(as.integer(readLines(done)), 8)
  expect_true(wait_until(sum(times()) >= 10L, 5))
  expect_identical(times(), c(1L, 2L, 1L, 1L, 1L, 1L, 2L, 1L))
  expect_identical(foreach(i = 1:8, .combine = c) %dopar% i, 1:8)
})

# Runs a loop whose first task fails as soon as the other, which does `work`, has begun. Returns the
# process that worked.
cancel <- function(work) {
  begun <- tempfile("begun-")
  took <- seconds(testthat::expect_error(
    eval(bquote(foreach(i = 1:2, .options.rustBatch = chunks_of(1)) %dopar% {
      if (i == 1) {
        while (!file.exists(begun)) Sys.sleep(0.01)
        stop("enough")
      }
      writeLines(as.character(Sys.getpid()), paste0(begun, ".new"))
      file.rename(paste0(begun, ".new"), begun)
      .(work)
    })),
    "enough"
  ))
  # The loop does not wait for what it gives up.
  testthat::expect_lt(took, 4)
  as.integer(readLines(begun))
}

test_as_user("a long computation in C that is cancelled holds no slot", {
  local_cluster()
  big <- matrix(runif(9e6), 3000)
  cancel(quote(svd(big)))
  # svd() takes a minute.
  took <- seconds(expect_length(pids(), 2L))
  expect_lt(took, 5)
})

test_as_user("what does not listen to an interrupt is killed within a second and replaced", {
  local_cluster()
  before <- pids()
  deaf <- cancel(quote(suspendInterrupts(repeat NULL)))
  expect_gone(deaf, within = 2)
  after <- pids()
  expect_length(after, 2L)
  expect_identical(setdiff(before, after), deaf)
})

test_as_user("what listens to an interrupt is interrupted and used again", {
  local_cluster()
  before <- pids()
  cancel(quote(Sys.sleep(60)))
  expect_identical(pids(), before)
})

test_as_user("an R process blocks no signal", {
  skip_without_proc()
  local_cluster(1)
  blocked <- foreach(1, .combine = c) %dopar% {
    grep("^SigBlk", readLines("/proc/self/status"), value = TRUE)
  }
  expect_match(blocked, "^SigBlk:\\s*0+$")
})

test_as_user("a command that runs when its task is cancelled ends with it", {
  local_cluster()
  cancel(quote(system("sleep 471.25")))
  expect_true(wait_until(length(running("sleep 471.25")) == 0L, 3))
  expect_identical(foreach(i = 1:4, .combine = c) %dopar% i, 1:4)
})

test_as_user("a background command keeps no loop waiting, and ends with the cluster", {
  cluster <- local_cluster()
  took <- seconds(values <- foreach(i = 1:2, .combine = c) %dopar% {
    system("sleep 471.5 &")
    i
  })
  expect_identical(values, 1:2)
  expect_lt(took, 5)
  sleeping <- running("sleep 471.5")
  expect_true(length(sleeping) >= 2L)
  stopCluster(cluster)
  expect_gone(sleeping)
})

test_as_user("a death is seen at once though a child keeps the pipes open", {
  local_cluster()
  took <- seconds(values <- foreach(i = 1:3, .errorhandling = "pass") %dopar% {
    if (i == 2) {
      system("sleep 471.75 &")
      tools::pskill(Sys.getpid(), 9L)
    }
    i
  })
  expect_identical(values[c(1, 3)], list(1L, 3L))
  expect_s3_class(values[[2]], "rustBatch_error_crash")
  # Three attempts, each seen within a second, and R started anew each time.
  expect_lt(took, 6)
  expect_true(wait_until(length(running("sleep 471.75")) == 0L, 5))
})

test_as_user("an R process that dies between two loops is replaced, and nobody is blamed", {
  local_cluster(1)
  pid <- foreach(1, .combine = c) %dopar% {
    system(sprintf("(sleep 0.2; kill -9 %d) &", Sys.getpid()))
    Sys.getpid()
  }
  expect_gone(pid)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("10 MB on both streams are cut with a notice, and block nothing", {
  local_cluster()
  printed <- capture.output(type = "output", {
    said <- capture.output(type = "message", {
      values <- foreach(i = 1:2, .combine = c) %dopar% {
        line <- strrep("x", 1e6)
        for (k in 1:10) {
          cat(line)
          cat(line, file = stderr())
        }
        i
      }
    })
  })
  expect_identical(values, 1:2)
  for (text in list(printed, said)) {
    expect_length(grep("^\\[[0-9]+ more bytes of task output were cut\\]$", text), 2L)
    expect_lt(sum(nchar(text)), 4e6)
    expect_gt(sum(nchar(text)), 1e6)
  }
})

test_as_user("a loop within a task works without .packages, and runs in the task's process", {
  local_cluster()
  values <- foreach(i = 1:3) %dopar% {
    inner <- foreach(j = 1:3, .combine = "+") %dopar% (i * j)
    pid <- foreach(1, .combine = c) %dopar% Sys.getpid()
    list(inner, pid == Sys.getpid(), getDoParName())
  }
  expect_identical(lapply(values, `[[`, 1L), list(6L, 12L, 18L))
  expect_true(all(vapply(values, `[[`, NA, 2L)))
  expect_identical(unique(vapply(values, `[[`, "", 3L)), "doSEQ")
})

test_as_user("the cluster that runs a task is not sent to it", {
  mine <- local_cluster()
  error <- expect_error(
    foreach(1) %dopar% rustBatch::registerDoRustBatch(mine),
    class = "rustBatch_error_export"
  )
  expect_identical(error$name, "mine")
})

test_as_user("a task has no standard input to wait for", {
  local_cluster()
  took <- seconds(asked <- capture.output(
    read <- foreach(1:2) %dopar% c(readLines("stdin"), readline("really? "))
  ))
  expect_length(grep("really?", asked, fixed = TRUE), 2L)
  expect_identical(unlist(read), c("", ""))
  expect_lt(took, 5)
})

# The R of the workers ----

test_as_user("the evaluator is base R: it loads nothing of ours", {
  local_cluster(1)
  loaded <- foreach(1) %dopar% c(loadedNamespaces(), search())
  expect_length(grep("rustBatch|foreach|globals|iterators", loaded[[1]]), 0L)
})

test_as_user("a worker runs with an R library that has no rustBatch", {
  wrapper <- tempfile("R-")
  writeLines(c(
    "#!/bin/sh",
    "R_LIBS= R_LIBS_USER=/nowhere R_LIBS_SITE=/nowhere",
    "export R_LIBS R_LIBS_USER R_LIBS_SITE",
    sprintf("exec '%s' \"$@\"", file.path(R.home("bin"), "R"))
  ), wrapper)
  Sys.chmod(wrapper, "755")
  local_cluster(1, rCommand = wrapper)
  # The client's library paths go with a loop, so it must not have rustBatch on them either.
  paths <- .libPaths()
  at_end(bquote(.libPaths(.(paths))), environment())
  .libPaths(.Library, include.site = FALSE)
  skip_if("rustBatch" %in% list.files(.libPaths()), "rustBatch is in R's own library")
  found <- foreach(i = 1:3, .combine = c) %dopar% requireNamespace("rustBatch", quietly = TRUE)
  expect_identical(found, c(FALSE, FALSE, FALSE))
})

test_as_user("an R that does not start is an error with its last words", {
  broken <- tempfile("R-")
  writeLines(c("#!/bin/sh", "echo 'no R today' >&2", "exit 7"), broken)
  Sys.chmod(broken, "755")
  skip_without_redis()
  error <- expect_error(makeCluster(1, rCommand = broken), class = "rustBatch_error_provision")
  expect_match(conditionMessage(error), "no R today")
  expect_length(cluster_processes(), 0L)
})

# Isolation ----

# What a task can see of the one before it.
traces <- quote(list(
  wd = getwd(),
  digits = getOption("digits"),
  added = getOption("rustBatch.test.added"),
  sinks = sink.number(),
  connections = nrow(showConnections()),
  search = search(),
  kind = RNGkind(),
  globals = setdiff(ls(globalenv(), all.names = TRUE), ".Random.seed"),
  here = ls(all.names = TRUE),
  counter = counter,
  variable = Sys.getenv("RUSTBATCH_TEST_TRACE")
))

leave_traces <- quote({
  setwd(tempdir())
  options(digits = 3, rustBatch.test.added = 1)
  sink(tempfile())
  left <- file(tempfile(), "w")
  attach(list(attached = 1), name = "an attached list")
  library(stats4)
  RNGkind("Mersenne-Twister", "Box-Muller")
  assign("in_global", 1, envir = globalenv())
  local <- 1
  counter <- counter + 1
  super <<- 1
  Sys.setenv(RUSTBATCH_TEST_TRACE = "seen")
})

# What loading a package sets is kept, so that the package is there before.
preload <- function() foreach(1) %dopar% loadNamespace("stats4")

for (slow in c(FALSE, TRUE)) {
  how <- if (slow) "long" else "short"
  test_as_user(paste("nothing of a task reaches the next loop or chunk,", how, "tasks"), {
    local_cluster(1)
    counter <- 0
    pause <- if (slow) 0.005 else 0
    preload()
    look <- function() {
      eval(bquote(foreach(1:4, .options.rustBatch = chunks_of(1)) %dopar% {
        seen <- .(traces)
        .(leave_traces)
        Sys.sleep(pause)
        seen
      }))
    }
    first <- look()
    expect_identical(length(unique(first)), 1L)
    expect_identical(look(), first)
    expect_identical(first[[1]]$counter, 0)
    expect_identical(first[[1]]$variable, "")
  })
}

test_as_user("nothing of a task that took a millisecond reaches the next of its chunk", {
  local_cluster(1)
  counter <- 0
  preload()
  seen <- eval(bquote(foreach(1:6, .options.rustBatch = chunks_of(10)) %dopar% {
    seen <- .(traces)
    .(leave_traces)
    Sys.sleep(0.005)
    seen
  }))
  expect_identical(length(unique(seen)), 1L)
})

test_as_user("of a short task, files, sinks, random numbers and its variables are taken back too", {
  local_cluster(1)
  counter <- 0
  seen <- foreach(1:6, .options.rustBatch = chunks_of(10)) %dopar% {
    seen <- list(getwd(), sink.number(), nrow(showConnections()), RNGkind(), counter, ls())
    setwd("/")
    sink("/dev/null")
    left <- textConnection("x")
    RNGkind("Mersenne-Twister")
    counter <- counter + 1
    seen
  }
  expect_identical(length(unique(seen)), 1L)
})

test_as_user("a task may remove everything that it sees", {
  local_cluster(1)
  kept <- 7
  values <- foreach(i = 1:6, .combine = c, .options.rustBatch = chunks_of(3)) %dopar% {
    value <- i * kept
    rm(list = setdiff(ls(), "value"))
    rm(list = ls(globalenv(), all.names = TRUE), envir = globalenv())
    value
  }
  expect_identical(values, 7 * 1:6)
})

test_as_user("locale, umask and library paths are as before, whatever a task did to them", {
  local_cluster(1)
  look <- function() list(Sys.getlocale("LC_CTYPE"), Sys.umask(NA), .libPaths())
  before <- foreach(i = 1) %dopar% look()
  changed <- foreach(i = 1) %dopar% {
    Sys.setlocale("LC_CTYPE", "C")
    Sys.umask("077")
    .libPaths(tempdir())
    look()
  }
  expect_false(identical(changed[[1]][[2]], before[[1]][[2]]))
  expect_identical(foreach(i = 1:2) %dopar% look(), rep(before, 2))
})

test_as_user("a command that writes for ever holds nobody up", {
  local_cluster(1)
  pid <- foreach(i = 1, .combine = c) %dopar% {
    # Standard error is the task's, too; the shell ends, and the command goes on. Its lines are long
    # because R takes them into what captures them one by one.
    line <- strrep("y", 50000)
    as.integer(system(paste("yes", line, ">&2 & echo $!"), intern = TRUE))
  }
  took <- seconds(capture.output(
    type = "message",
    values <- foreach(i = 1:20, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% i
  ))
  tools::pskill(pid, 9L)
  expect_identical(values, 1:20)
  expect_lt(took, 10)
})

# Whether the R process of the only slot has compiled its functions, as a task finds it.
state_of_evaluator <- function() {
  foreach(i = 1, .combine = c) %dopar% {
    homes <- Filter(is.environment, lapply(sys.frames(), parent.env))
    known <- Filter(function(home) exists("compile_all", home, inherits = FALSE), homes)
    get("state", known[[1]])
  }
}

test_as_user("R compiles its functions when there is nothing to do, and not before a first loop", {
  # On a machine that has much to do, some time may pass before the first loop.
  for (k in 1:5) {
    cluster <- local_cluster(1)
    first <- state_of_evaluator()
    if (first == "cold" || k == 5) break
    stopCluster(cluster)
  }
  expect_identical(first, "cold")
  # Each look is work, and there has to be none for 100 ms.
  for (k in 1:20) {
    Sys.sleep(0.25)
    if (state_of_evaluator() == "compiled") break
  }
  expect_identical(state_of_evaluator(), "compiled")
})
