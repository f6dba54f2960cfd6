# The rules of the border between R and Rust, each by a probe (src/rust/bridge/src/probe.rs).

dropped_by <- function(code) {
  before <- probe_dropped()
  force(code)
  probe_dropped() - before
}

values <- list(
  NULL,
  c(a = 1.5, b = NA),
  letters,
  c("\u00e4", NA),
  1:10,
  iris[1:20, ],
  list(1, list("x", TRUE), quote(a + b)),
  function(x, ...) x + 1,
  as.name("n"),
  complex(real = 1, imaginary = -1),
  as.raw(0:255),
  globalenv(),
  asNamespace("stats"),
  new.env()
)

# Values ----

test_that("a failure is a classed condition with fields", {
  error <- expect_error(probe_fail("No worker is left."), class = "rustBatch_error_task")
  expect_s3_class(error, "rustBatch_error")
  expect_identical(conditionMessage(error), "No worker is left.")
  expect_identical(error$task, "7")
  expect_identical(error$worker, "w-1")
})

test_that("text keeps its characters, whatever its encoding", {
  text <- c("\u00e4\u20ac\U1F600", "", "a\nb")
  latin <- iconv("\u00e4", "UTF-8", "latin1")
  expect_identical(probe_texts(text), text)
  expect_identical(probe_texts(latin), "\u00e4")
  expect_identical(conditionMessage(expect_error(probe_fail(latin))), "\u00e4")
})

test_that("an argument of the wrong type is an internal error", {
  expect_error(probe_fail(1), class = "rustBatch_error_internal")
  expect_error(probe_fail(c("a", "b")), class = "rustBatch_error_internal")
  expect_error(probe_fail(NA_character_), class = "rustBatch_error_internal")
  expect_error(probe_unserialize("a"), class = "rustBatch_error_internal")
})

test_that("a user's value that looks like a failure is a value", {
  failure <- structure(list(kind = "task", message = "x"), class = "rustBatch_failure")
  expect_identical(probe_call(function() failure), list(failure))
})

# Panics ----

test_that("a panic is an internal error, is not printed, and drops what it passes", {
  said <- capture.output(type = "message", {
    n <- dropped_by(error <- expect_error(probe_panic("ouch"), class = "rustBatch_error_internal"))
  })
  expect_identical(n, 1L)
  expect_match(conditionMessage(error), "ouch")
  expect_match(error$place, "probe.rs")
  expect_identical(said, character())
})

test_that("a panic on a background thread is an internal error", {
  error <- expect_error(probe_panic_behind(), class = "rustBatch_error_internal")
  expect_match(conditionMessage(error), "behind")
})

# Jumps ----

test_that("an error of R passes through Rust with its class", {
  custom <- structure(class = c("custom", "error", "condition"), list(message = "m", call = NULL))
  n <- dropped_by(error <- tryCatch(probe_call(function() stop(custom)), custom = identity))
  expect_identical(error, custom)
  expect_identical(n, 1L)
})

test_that("a restart passes through Rust", {
  n <- dropped_by(
    value <- withRestarts(
      probe_call(function() invokeRestart("replace", 5)),
      replace = function(x) x + 1
    )
  )
  expect_identical(value, 6)
  expect_identical(n, 1L)
})

test_that("return() passes through Rust", {
  through <- function(x) probe_call(function() x)
  early <- function() {
    through(return("early"))
    "late"
  }
  n <- dropped_by(expect_identical(early(), "early"))
  expect_identical(n, 1L)
})

test_that("a calling handler runs above Rust and comes back", {
  seen <- character()
  value <- withCallingHandlers(
    probe_call(function() {
      warning("careful")
      "done"
    }),
    warning = function(w) {
      seen <<- conditionMessage(w)
      invokeRestart("muffleWarning")
    }
  )
  expect_identical(value, list("done"))
  expect_identical(seen, "careful")
})

test_that("jumps nest", {
  nested <- function(n) if (n == 0) stop("bottom") else probe_call(function() nested(n - 1))
  n <- dropped_by(expect_error(nested(20), "bottom"))
  expect_identical(n, 20L)
  caught <- probe_call(function() tryCatch(nested(3), error = conditionMessage))
  expect_identical(caught, list("bottom"))
})

test_that("on.exit() runs after a jump through Rust", {
  left <- FALSE
  leave <- function() {
    on.exit(left <<- TRUE)
    probe_call(function() stop("out"))
  }
  expect_error(leave(), "out")
  expect_true(left)
})

test_that("Ctrl-C ends a wait at once, and drops what waited on both sides", {
  skip_on_os("windows")
  outcome <- in_fresh_r({
    before <- probe_dropped()
    system(sprintf("(sleep 0.5; kill -INT %d) &", Sys.getpid()))
    seconds <- system.time(
      value <- tryCatch(probe_wait(30), interrupt = function(i) "interrupted")
    )[["elapsed"]]
    # The task in the background ends a moment later.
    deadline <- Sys.time() + 5
    while (probe_dropped() - before < 2L && Sys.time() < deadline) Sys.sleep(0.01)
    list(value = value, seconds = seconds, dropped = probe_dropped() - before)
  })
  expect_identical(outcome$value, "interrupted")
  expect_lt(outcome$seconds, 5)
  expect_identical(outcome$dropped, 2L)
})

test_that("a time limit of R ends a wait", {
  expect_error(
    {
      setTimeLimit(elapsed = 0.2, transient = TRUE)
      probe_wait(30)
    },
    "time limit"
  )
  setTimeLimit()
})

# Memory ----

test_that("100,000 errors cost no memory", {
  skip_without_proc()
  megabytes <- in_fresh_r({
    resident <- function() {
      gc()
      pages <- as.numeric(strsplit(readLines("/proc/self/statm"), " ")[[1]][2])
      pages * 4096 / 1e6
    }
    grown <- function(times, code) {
      code <- compiler::compile(substitute(for (i in seq_len(times)) code))
      before <- resident()
      eval(code)
      resident() - before
    }
    stop_now <- function() stop("x")
    ignore <- function(condition) NULL
    rounds <- replicate(4, c(
      failures = grown(60000, .Call(wrap__probe_fail, "x")),
      jumps = grown(20000, tryCatch(probe_call(stop_now), error = ignore)),
      panics = grown(20000, .Call(wrap__probe_panic, "x"))
    ))
    rounds
  })
  # A leak shows in every round; extendr's table of R objects grows in steps, each time more rarely.
  expect_lt(sum(apply(megabytes[, -1], 1, min)), 1)
})

test_that("entry points survive a collection at every allocation", {
  outcome <- in_fresh_r({
    environment <- new.env()
    value <- list(environment, "\u00e4", 1:3, list(a = iris[1:2, ]))
    gctorture(TRUE)
    for (i in 1:3) {
      bytes <- .Call(wrap__probe_serialize, value, environment)
      back <- .Call(wrap__probe_unserialize, .Call(wrap__probe_serialize, value[-1], NULL))
      failure <- .Call(wrap__probe_fail, "m")
      panic <- .Call(wrap__probe_panic, "m")
      jump <- tryCatch(probe_call(function() stop("j")), error = conditionMessage)
      text <- .Call(wrap__probe_texts, c("a", "\u00e4"))
      called <- .Call(wrap__probe_call, function() c("x", "y"))
    }
    gctorture(FALSE)
    list(
      same = identical(back, list(value[-1])),
      bytes = identical(bytes, serialize(value, NULL, xdr = FALSE, refhook = function(e) {
        if (identical(e, environment)) "rustBatch:calling"
      })),
      failure = failure$fields,
      panic = panic$kind,
      rest = list(jump, text, called)
    )
  })
  expect_true(outcome$same)
  expect_true(outcome$bytes)
  expect_identical(outcome$failure, list(task = "7", worker = "w-1"))
  expect_identical(outcome$panic, "internal")
  expect_identical(outcome$rest, list("j", c("a", "\u00e4"), list(c("x", "y"))))
})

# Serialization ----

test_that("serialized bytes are those of serialize()", {
  for (value in values) {
    bytes <- probe_serialize(value, NULL)
    expect_identical(bytes, serialize(value, NULL, xdr = FALSE))
    expect_identical(probe_unserialize(bytes), list(unserialize(bytes)))
  }
  expect_identical(probe_unserialize(serialize(iris, NULL)), list(iris))
  expect_identical(probe_unserialize(serialize(1:3, NULL, ascii = TRUE)), list(1:3))
})

test_that("the calling environment goes by name, and no other", {
  calling <- new.env()
  other <- new.env()
  value <- list(calling, other, local(function() 1, calling), globalenv())
  bytes <- probe_serialize(value, calling)
  names <- character()
  back <- unserialize(bytes, refhook = function(name) {
    names <<- c(names, name)
    calling
  })
  expect_identical(unique(names), "rustBatch:calling")
  expect_identical(back[[1]], calling)
  expect_identical(environment(back[[3]]), calling)
  expect_identical(back[[4]], globalenv())
  expect_false(identical(back[[2]], calling))
  expect_error(probe_unserialize(bytes), "restore")
})

test_that("truncated and foreign bytes are an error of R", {
  bytes <- serialize(list(iris[1:5, ], letters, mean), NULL, xdr = FALSE)
  for (length in seq(0, length(bytes) - 1)) {
    expect_true(inherits(try(probe_unserialize(head(bytes, length)), silent = TRUE), "try-error"))
  }
  expect_error(probe_unserialize(raw()), "ends before its time")
  expect_error(probe_unserialize(charToRaw("not serialized at all")))
  expect_error(probe_unserialize(as.raw(rep(255, 100))))
})

# Threads ----

test_that("loading the package starts no thread, and the first use two that block all signals", {
  skip_without_proc()
  outcome <- in_fresh_r({
    after_loading <- threads()
    started <- probe_started()
    probe_wait(0.001)
    # A thread names itself, then blocks the signals: soon after it was started.
    look <- function() {
      tasks <- list.files("/proc/self/task", full.names = TRUE)
      ours <- Filter(function(task) readLines(file.path(task, "comm")) == "rustBatch", tasks)
      status <- vapply(ours, function(task) {
        grep("^SigBlk", readLines(file.path(task, "status")), value = TRUE)
      }, "")
      sub("SigBlk:\t", "", unname(status))
    }
    deadline <- Sys.time() + 5
    repeat {
      blocked <- look()
      if (sum(grepl("^f", blocked)) == 2 || Sys.time() > deadline) break
    }
    list(
      new = after_loading - threads_before,
      started = c(started, probe_started()),
      blocked = blocked
    )
  })
  expect_identical(outcome$new, 0L)
  expect_identical(outcome$started, c(FALSE, TRUE))
  expect_length(outcome$blocked, 2)
  # All but SIGKILL, SIGSTOP and the two that the C library keeps for itself.
  expect_match(outcome$blocked, "^fffffff[ec]7ffbfeff$")
})

test_that("forked children start their own threads, and the parent's go on", {
  skip_on_os("windows")
  outcome <- in_fresh_r({
    probe_wait(0.01)
    child <- function(i) {
      inherited <- probe_started()
      probe_wait(0.01)
      c(inherited, probe_started(), inherits(try(probe_fail("x"), silent = TRUE), "try-error"))
    }
    rounds <- lapply(1:5, function(round) {
      parallel::mclapply(1:2, child, mc.cores = 2)
    })
    probe_wait(0.01)
    list(children = unique(unlist(rounds, recursive = FALSE)), parent = probe_started())
  })
  expect_identical(outcome$children, list(c(FALSE, TRUE, TRUE)))
  expect_true(outcome$parent)
})

test_that("a pointer made before a fork answers with an error in the child", {
  skip_on_os("windows")
  outcome <- in_fresh_r({
    pointer <- probe_pointer()
    child <- parallel::mclapply(1:2, mc.cores = 2, function(i) {
      tryCatch(probe_pointed(pointer), error = class)
    })
    list(child = unique(child), parent = probe_pointed(pointer))
  })
  expect_identical(outcome$child[[1]][1], "rustBatch_error_forked")
  expect_true(outcome$parent)
})

test_that("a pointer drops what it owns when it is collected", {
  pointer <- probe_pointer()
  n <- dropped_by({
    rm(pointer)
    gc()
  })
  expect_identical(n, 1L)
})

test_that("a pointer from a saved session, or of something else, is an error", {
  saved <- serialize(probe_pointer(), NULL)
  expect_error(probe_pointed(unserialize(saved)), class = "rustBatch_error_closed")
  expect_error(probe_pointed(1), class = "rustBatch_error_internal")
})

test_that("the namespace can be unloaded and loaded again", {
  outcome <- in_fresh_r({
    probe_wait(0.01)
    with_runtime <- threads()
    unloadNamespace("rustBatch")
    without <- threads()
    rustBatch <- loadNamespace("rustBatch")
    rustBatch$probe_wait(0.01)
    c(with_runtime - threads_before, without - threads_before, rustBatch$probe_started())
  })
  skip_without_proc()
  expect_identical(outcome, c(2L, 0L, 1L))
})
