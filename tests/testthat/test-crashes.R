# Tasks that end their R process: three tries, a condition that says why, and no neighbour harmed.

# One task of twenty that ends its R process at each try ----

# Runs the loop, in which task 7 notes that it runs and then does `death`.
one_bad <- function(death, handling = "pass", tried = tempfile("tried-"), size = 1) {
  sized <- chunks_of(size)
  value <- eval(bquote(
    foreach(i = 1:20, .errorhandling = .(handling), .options.rustBatch = sized) %dopar% {
      if (i == 7) {
        cat("x\n", file = tried, append = TRUE)
        .(death)
      }
      i
    }
  ))
  list(value = value, tries = length(readLines(tried)))
}

# Each kind of crash, with what its condition says.
deaths <- list(
  "a segfault" = list(
    quote(tools::pskill(Sys.getpid(), 11L)),
    signal = 11L, name = "SIGSEGV", exit = NA_integer_, says = "Compiled code failed"
  ),
  "quit()" = list(
    quote(quit("no")),
    signal = NA_integer_, name = "", exit = 0L, says = "Does the task call quit()?"
  ),
  "q(status = 3)" = list(
    quote(q("no", status = 3)),
    signal = NA_integer_, name = "", exit = 3L, says = "quit(status = 3)"
  ),
  "SIGKILL" = list(
    quote(tools::pskill(Sys.getpid(), 9L)),
    signal = 9L, name = "SIGKILL", exit = NA_integer_, says = "Somebody killed it"
  ),
  "SIGTERM" = list(
    quote(tools::pskill(Sys.getpid(), 15L)),
    signal = 15L, name = "SIGTERM", exit = NA_integer_, says = "send this signal"
  )
)

expect_crash <- function(error, death) {
  testthat::expect_s3_class(error, c("rustBatch_error_crash", "rustBatch_error", "error"))
  testthat::expect_identical(error$signal, death$signal)
  testthat::expect_identical(error$signalName, death$name)
  testthat::expect_identical(error$exit, death$exit)
  testthat::expect_identical(error[c("oom", "limit", "peak")],
    list(oom = FALSE, limit = NA_real_, peak = NA_real_)
  )
  testthat::expect_match(error$worker, "^[0-9a-z-]+$")
  testthat::expect_type(error$log, "character")
  testthat::expect_match(conditionMessage(error), "ended its R process 3 times", fixed = TRUE)
  testthat::expect_match(conditionMessage(error), death$says, fixed = TRUE)
}

for (name in names(deaths)) {
  death <- deaths[[name]]
  test_as_user(paste(name, "is tried three times, and is an error of its task alone"), {
    local_cluster(2)
    passed <- one_bad(death[[1]])
    expect_identical(passed$tries, 3L)
    expect_identical(passed$value[-7], as.list(1:20)[-7])
    expect_crash(passed$value[[7]], death)
    removed <- one_bad(death[[1]], "remove")
    expect_identical(removed, list(value = as.list(1:20)[-7], tries = 3L))
    error <- expect_error(one_bad(death[[1]], "stop"), class = "rustBatch_error_crash")
    expect_s3_class(error, "rustBatch_error_task")
    expect_equal(error$task, 7)
    expect_identical(error[c("signal", "exit", "oom")], error$parent[c("signal", "exit", "oom")])
    expect_crash(error$parent, death)
    expect_length(pids(), 2L)
  })
}

test_as_user("a crash in a chunk of several harms no neighbour", {
  local_cluster(2)
  passed <- one_bad(quote(tools::pskill(Sys.getpid(), 9L)), size = 5)
  # Once among its neighbours, for which nobody is blamed, then three times alone.
  expect_identical(passed$tries, 4L)
  expect_identical(passed$value[-7], as.list(1:20)[-7])
  expect_s3_class(passed$value[[7]], "rustBatch_error_crash")
})

test_as_user("the last lines on stderr are in the condition", {
  local_cluster(1)
  capture.output(type = "message", passed <- one_bad(quote({
    cat("first words\nlast words\n", file = stderr())
    q("no", status = 3)
  })))
  expect_identical(utils::tail(passed$value[[7]]$log, 2L), c("first words", "last words"))
  expect_match(conditionMessage(passed$value[[7]]), "first words\nlast words$")
})

test_as_user("infinite recursion is an error of R's, not a crash", {
  local_cluster(2)
  passed <- one_bad(quote({
    deeper <- function(n) deeper(n + 1)
    deeper(1)
  }))
  expect_identical(passed$tries, 1L)
  expect_identical(passed$value[-7], as.list(1:20)[-7])
  expect_s3_class(passed$value[[7]], "error")
  expect_false(inherits(passed$value[[7]], "rustBatch_error"))
  expect_length(pids(), 2L)
})

# A function in C that calls itself without end, compiled for the test.
compiled_recursion <- function() {
  folder <- tempfile("deep-")
  dir.create(folder)
  writeLines(c(
    "#include <Rinternals.h>",
    "static int deeper(volatile char *above) {",
    "  volatile char room[65536];",
    "  room[above[0] & 1] = above[0] + 1;",
    "  return deeper(room) + room[1];",
    "}",
    "SEXP deep(void) { char a[1] = {0}; return Rf_ScalarInteger(deeper(a)); }"
  ), file.path(folder, "deep.c"))
  said <- system2(file.path(R.home("bin"), "R"), c("CMD", "SHLIB", file.path(folder, "deep.c")),
    stdout = TRUE, stderr = TRUE
  )
  library <- file.path(folder, paste0("deep", .Platform$dynlib.ext))
  testthat::skip_if_not(file.exists(library), paste(c("no C compiler:", said), collapse = "\n"))
  library
}

test_as_user("a stack that overflows in C is an error of its task alone", {
  local_cluster(2)
  library <- compiled_recursion()
  passed <- one_bad(quote(.Call(getNativeSymbolInfo("deep", dyn.load(library))$address)))
  expect_identical(passed$value[-7], as.list(1:20)[-7])
  expect_s3_class(passed$value[[7]], "error")
  # R catches it on some systems; where it does not, the process dies.
  crashed <- inherits(passed$value[[7]], "rustBatch_error_crash")
  expect_identical(passed$tries, if (crashed) 3L else 1L)
  expect_length(pids(), 2L)
})

test_as_user("what a task has started in the background ends with its R process", {
  local_cluster(2)
  for (death in deaths[c("quit()", "SIGKILL")]) {
    passed <- one_bad(bquote({
      system("sleep 472.25 &")
      .(death[[1]])
    }))
    expect_s3_class(passed$value[[7]], "rustBatch_error_crash")
    expect_true(wait_until(length(running("sleep 472.25")) == 0L, 5))
  }
})

# Memory ----

# A memory group with this limit, until the test ends; skips where none can be made.
local_memory_group <- function(bytes, frame = parent.frame()) {
  first <- dir.exists("/sys/fs/cgroup/memory")
  group <- file.path(
    if (first) "/sys/fs/cgroup/memory" else "/sys/fs/cgroup", paste0("rustbatch-", Sys.getpid())
  )
  file <- file.path(group, if (first) "memory.limit_in_bytes" else "memory.max")
  made <- suppressWarnings(dir.create(group)) && file.exists(file) &&
    tryCatch(is.null(writeLines(sprintf("%.0f", bytes), file)), error = function(e) FALSE)
  if (!made) testthat::skip("no memory group can be made here (not Linux, or not permitted)")
  # It can be removed when its last process is gone.
  remove <- function() wait_until(system2("rmdir", group, stderr = FALSE) == 0L, 10)
  at_end(bquote(.(remove)()), frame)
  group
}

test_as_user("a task that exceeds the limit of memory is told so, with limit and peak", {
  skip_without_redis()
  limit <- 800 * 2^20
  group <- local_memory_group(limit)
  script <- start_r(group = group, body = quote({
    writeLines(as.character(Sys.getpid()), file.path(group, "cgroup.procs"))
    cluster <- makeCluster(2)
    registerDoRustBatch(cluster)
    values <- foreach(i = 1:20, .errorhandling = "pass") %dopar% {
      if (i == 7) sum(numeric(2e8))
      i
    }
    # A kill that is nobody's hunger is not taken for one.
    killed <- foreach(i = 1, .errorhandling = "pass") %dopar% tools::pskill(Sys.getpid(), 9L)
    say("values", c(values, killed))
    pids <- foreach(1:8, .combine = c) %dopar% {
      Sys.sleep(0.1)
      Sys.getpid()
    }
    say("slots", length(unique(pids)))
    stopCluster(cluster)
    say("over")
  }))
  values <- script$said("values", within = 60)
  expect_identical(values[-c(7, 21)], as.list(1:20)[-7])
  error <- values[[7]]
  expect_s3_class(error, "rustBatch_error_crash")
  expect_identical(error[c("signal", "oom", "limit")], list(signal = 9L, oom = TRUE, limit = limit))
  expect_gt(error$peak, 0.9 * limit)
  expect_lte(error$peak, limit)
  expect_match(conditionMessage(error), "^the task needed more than the limit of 800 MiB [(]peak ")
  expect_false(values[[21]]$oom)
  expect_identical(script$said("slots"), 2L)
  script$said("over")
})

test_that("the words about memory say what is known", {
  crash <- function(...) {
    cause <- list(
      times = 3L,
      message = "killed by signal 9 (SIGKILL), out of memory", signal = 9L, signalName = "SIGKILL",
      exit = NA_integer_, oom = TRUE, limit = NaN, peak = NaN, log = ""
    )
    cause <- utils::modifyList(cause, list(...))
    conditionMessage(crash_error(list(report = cause, worker = "w", attempt = 3L)))
  }
  expect_match(crash(limit = 2^31, peak = 1.98 * 2^30),
    "the task needed more than the limit of 2 GiB (peak 1.98 GiB), and was killed 3 times\n* ",
    fixed = TRUE
  )
  expect_match(crash(limit = 2^29), "the limit of 512 MiB, and was", fixed = TRUE)
  expect_match(crash(), "out of memory, for the machine has no more\n* ", fixed = TRUE)
})
