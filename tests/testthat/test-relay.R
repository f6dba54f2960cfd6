# What tasks print and signal comes back: in the order of the tasks, each as what it is.

test_as_user("output comes in the order of the tasks", {
  local_cluster()
  said <- capture.output(foreach(i = 1:6, .options.rustBatch = chunks_of(2)) %dopar% {
    # The first take longest.
    Sys.sleep((7 - i) / 100)
    cat("task", i, "\n")
  })
  expect_identical(grep("^task", said, value = TRUE), paste("task", 1:6, ""))
})

test_as_user("output, messages and errors of a task keep their order", {
  local_cluster(1)
  text <- function(...) writeLines(paste(...))
  said <- signals(printed <- capture.output(
    foreach(i = 1:2, .options.rustBatch = chunks_of(2)) %dopar% {
      cat("before", i, "\n")
      message("message ", i)
      cat("after", i, "\n")
    }
  ))
  expect_identical(said, paste("message: message", 1:2))
  expect_identical(printed[1:4], c("before 1 ", "after 1 ", "before 2 ", "after 2 "))
})

test_as_user("messages are messages with their class", {
  local_cluster(1)
  caught <- NULL
  withCallingHandlers(
    foreach(1) %dopar% {
      message(structure(
        class = c("mine", "message", "condition"), list(message = "m\n", call = NULL, n = 7)
      ))
    },
    mine = function(m) {
      caught <<- m$n
      invokeRestart("muffleMessage")
    }
  )
  expect_identical(caught, 7)
})

test_as_user("warnings are warnings at the end of the loop, equal ones once", {
  local_cluster()
  said <- signals(foreach(i = 1:6) %dopar% {
    warning("often")
    if (i == 4) warning("once")
    i
  })
  expect_identical(said, c("warning: often (in 6 tasks)", "warning: once"))
  expect_identical(signals(foreach(i = 1:2) %dopar% suppressWarnings(warning("no"))), character())
})

test_as_user("options(warn) has its meaning in tasks", {
  local_cluster(1)
  before <- options(warn = 2)
  at_end(bquote(options(.(before))), environment())
  expect_error(foreach(1) %dopar% as.integer("x"), "converted from warning")
  options(warn = -1)
  expect_identical(signals(foreach(1) %dopar% as.integer("x")), character())
})

test_as_user("standard error comes as standard error", {
  local_cluster(1)
  printed <- capture.output(type = "message", {
    none <- foreach(1) %dopar% cat("to stderr\n", file = stderr())
  })
  expect_identical(printed, "to stderr")
})

test_as_user("output of a child process is a task's output", {
  local_cluster(1)
  printed <- capture.output(values <- foreach(1, .combine = c) %dopar% system("echo from a child"))
  expect_identical(printed, "from a child")
  expect_identical(values, 0L)
})

test_as_user("a task that captures its own output has it, unmarked", {
  local_cluster(1)
  said <- signals(captured <- foreach(1) %dopar% capture.output({
    cat("one\n")
    message("two")
    cat("three\n")
  }))
  expect_identical(said, "message: two")
  expect_identical(captured[[1]], c("one", "three"))
})

test_as_user("text keeps its letters", {
  local_cluster(1)
  printed <- capture.output(foreach(1) %dopar% cat("\u00e4\u20ac\n"))
  expect_identical(printed[1], "\u00e4\u20ac")
})

test_as_user("a task that captures its output has it as it is", {
  local_cluster(1)
  captured <- suppressMessages(foreach(1) %dopar% capture.output({
    cat("a\n")
    message("m")
    cat("b\n")
  }))
  expect_identical(captured[[1]], c("a", "b"))
})

test_as_user("an immediateCondition does not wait for its task's turn", {
  local_cluster(2)
  fence <- tempfile()
  heard <- NULL
  # The first task ends only when the client has heard of the second.
  withCallingHandlers(
    foreach(i = 1:2) %dopar% {
      if (i == 2) {
        signalCondition(structure(
          class = c("news", "immediateCondition", "condition"), list(message = "now", call = NULL)
        ))
      } else {
        for (wait in 1:500) if (file.exists(fence)) break else Sys.sleep(0.02)
        if (!file.exists(fence)) stop("nobody heard")
      }
    },
    news = function(n) {
      heard <<- conditionMessage(n)
      file.create(fence)
    }
  )
  expect_identical(heard, "now")
})

test_as_user("a warning says in how many tasks it came", {
  local_cluster(1)
  said <- signals(foreach(i = 1:2) %dopar% for (k in 1:5) warning("w"))
  expect_identical(said, "warning: w (in 2 tasks)")
})

test_as_user("what a chunk prints beyond 4 MiB is cut and counted, and the loop goes on", {
  local_cluster(1)
  values <- NULL
  printed <- capture.output(said <- signals(
    values <- foreach(i = 1:1000, .combine = c, .options.rustBatch = chunks_of(1000)) %dopar% {
      cat(strrep("x", 20000))
      message(i)
      i
    }
  ))
  expect_identical(values, 1:1000)
  expect_identical(said, paste("message:", 1:1000))
  note <- "^\\[([0-9]+) more bytes of task output were cut\\]$"
  noted <- grepl(note, printed)
  cut <- sum(as.numeric(sub(note, "\\1", printed[noted])))
  kept <- sum(nchar(printed[!noted]))
  expect_identical(kept + cut, 2e7)
  expect_true(kept > 3.9 * 2^20 && kept <= 4 * 2^20)
})

test_as_user("what a command prints after its loop is no other loop's", {
  local_cluster(1)
  go <- tempfile("go-")
  command <- sprintf(
    "(while [ ! -e '%s' ]; do sleep 0.02; done; echo late; touch '%s.done') &", go, go
  )
  none <- foreach(1) %dopar% system(command)
  file.create(go)
  expect_true(wait_until(file.exists(paste0(go, ".done")), 5))
  printed <- capture.output(none <- foreach(1) %dopar% cat("mine\n"))
  expect_identical(printed, "mine")
})
