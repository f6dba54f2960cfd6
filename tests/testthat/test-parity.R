# Parity with %do%, argument by argument: each loop on 1 and 2 slots, chunked and not.
#
# Where rustBatch differs on purpose:
# - An error of .combine or of .final is raised, with `rustBatch_error` among its classes. %do%
#   prints "error calling combine function" and goes on.
# - With .errorhandling = "stop" nothing is combined after the lowest task that failed, and its
#   error is the one that is raised. %do% runs all tasks first, and then raises a later iterator's
#   error instead, if there is one.
# - No task sees what another assigned. With %do% they share an environment.
# - .export and .noexport mean something; a package of .packages is attached where the tasks run.
# - Equal warnings are told once, with their number, when the loop ends.
# - Random numbers come from a stream for each task.
# - A warning or an error that is signalled in local() itself may have another call: %do% compiles
#   every loop, which changes these calls, and rustBatch only long ones.

test_that(".combine is a function or its name, of two or of many, and takes .init and .final", {
  expect_all(expression(
    foreach(i = 1:7) %dopar% i,
    foreach(i = 1:7, .combine = c) %dopar% i,
    foreach(i = 1:7, .combine = "c") %dopar% letters[i],
    foreach(i = 1:7, .combine = "+") %dopar% i,
    foreach(i = 1:7, .combine = rbind) %dopar% c(a = i, b = i^2),
    foreach(i = 1:7, .combine = "cbind") %dopar% c(a = i, b = i^2),
    foreach(i = 1:7, .combine = list) %dopar% i,
    foreach(i = 1:7, .combine = list, .multicombine = TRUE) %dopar% i,
    foreach(i = 1:7, .combine = list, .multicombine = TRUE, .maxcombine = 3) %dopar% i,
    foreach(i = 1:7, .combine = list, .multicombine = FALSE, .maxcombine = 5) %dopar% i,
    foreach(i = 1:250, .combine = c, .maxcombine = 10) %dopar% i,
    foreach(i = 1:7, .combine = function(a, b) paste0(a, b)) %dopar% i,
    foreach(i = 1:7, .combine = function(...) sum(...), .multicombine = TRUE) %dopar% i,
    foreach(i = 1:7, .combine = paste, .init = "start") %dopar% i,
    foreach(i = 1:7, .combine = c, .init = NULL) %dopar% i,
    foreach(i = 1:7, .combine = c, .init = {
      x <- 3
      x
    }) %dopar% i,
    foreach(i = 1:7, .final = length) %dopar% i,
    foreach(i = 1:7, .combine = c, .final = function(x) x[x > 3]) %dopar% i,
    foreach(i = 1:3, .combine = data.frame) %dopar% data.frame(i),
    foreach(i = 1:3, .combine = merge, .multicombine = FALSE) %dopar% data.frame(k = 1:2, i),
    foreach(i = 1:4, .combine = function(a, b) NULL) %dopar% i,
    foreach(i = 1:4, .combine = c) %dopar% NULL,
    foreach(i = 1:4) %dopar% NULL
  ))
})

test_that("values come back as they are", {
  expect_all(expression(
    foreach(i = 1:3) %dopar% factor(letters[i], letters),
    foreach(i = 1:3) %dopar% as.Date("2024-01-01") + i,
    foreach(i = 1:3) %dopar% quote(x + y),
    foreach(i = 1:3) %dopar% (a ~ b),
    foreach(i = 1:3) %dopar% function(x) x + 1,
    foreach(i = 1:3) %dopar% c(NA, NaN, Inf, -0),
    foreach(i = 1:3) %dopar% "\u00e9\u4e2d",
    foreach(i = 1:3) %dopar% as.raw(0:255),
    foreach(i = 1:3) %dopar% invisible(i),
    foreach(i = 1:3) %dopar% 5,
    foreach(i = 1:3) %dopar% i,
    foreach(i = 1:3) %dopar% return(i),
    foreach(i = 1:3) %dopar% simpleCondition("not an error"),
    foreach(i = 1:3) %dopar% try(stop("x"), silent = TRUE)
  ))
})

test_that("tasks that are out of order on arrival are combined in order, unless it is left open", {
  backends <- expect_all(expression(
    foreach(i = 1:8, .combine = c, .inorder = TRUE) %dopar% sum(seq_len(1e5 * (i %% 2 == 1))),
    foreach(i = 1:8, .inorder = FALSE) %dopar% i,
    foreach(i = 1:8, .combine = c, .inorder = FALSE) %dopar% if (i == 5) stop("bad") else i
  ))
  expect_all(ordered = FALSE, backends = backends, expression(
    foreach(i = 1:8, .inorder = FALSE, .errorhandling = "pass") %dopar% {
      if (i == 3) stop("bad") else sum(seq_len(1e5 * (i %% 2 == 1))) + i
    },
    foreach(i = 1:8, .combine = c, .inorder = FALSE, .errorhandling = "remove") %dopar% {
      if (i == 3) stop("bad") else i
    },
    foreach(i = 1:3, .combine = c, .inorder = FALSE) %:%
      foreach(j = 1:4, .combine = c, .inorder = FALSE) %dopar% (i * 10 + j)
  ))
})

test_that("errors stop the loop, are removed or are passed, as foreach words them", {
  expect_all(expression(
    foreach(i = 1:7) %dopar% if (i > 3) stop("bad ", i) else i,
    foreach(i = 1:7, .errorhandling = "stop") %dopar% stop("bad ", i),
    foreach(i = 1:7, .errorhandling = "remove") %dopar% if (i == 3) stop("bad") else i,
    foreach(i = 1:7, .combine = c, .errorhandling = "remove") %dopar% if (i > 2) stop("bad") else i,
    foreach(i = 1:7, .combine = "+", .errorhandling = "remove") %dopar% stop("all"),
    foreach(i = 1:7, .combine = "+", .init = 0, .errorhandling = "remove") %dopar% stop("all"),
    foreach(i = 1:7, .errorhandling = "pass") %dopar% if (i == 3) stop("bad") else i,
    foreach(i = 1:3, .combine = list, .errorhandling = "pass") %dopar% stop("bad"),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% stop("no call", call. = FALSE),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% missing_name,
    foreach(i = 1:3, .errorhandling = "pass") %dopar% missing_function(i),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% log("a"),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% (i + "a"),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% list(1)[[i + 1L]],
    foreach(i = 1:3, .errorhandling = "pass") %dopar% match.arg("x", c("a", "b")),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% stopifnot("i is not 9" = i == 9),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% {
      f <- function(x) stop("in f: ", x)
      f(i)
    },
    foreach(i = 1:3, .errorhandling = "pass") %dopar% {
      stop(structure(
        class = c("mine", "error", "condition"), list(message = "own", call = quote(f(x)), more = i)
      ))
    },
    foreach(i = 1:3) %dopar% if (i == 2) simpleError("a value that is an error") else i,
    foreach(i = 1:3, .errorhandling = "pass") %dopar% simpleError("a value"),
    foreach(i = 1:3) %dopar% stop("StopIteration"),
    foreach(i = 1:3) %dopar% stop("100% %d %s"),
    foreach(i = 1:3, .errorhandling = "pass") %dopar% stop("l\u00e9sion")
  ))
})

test_that("the error of a task is of foreach's class and of ours, and of the lowest task", {
  local_cluster(2)
  for (size in 1:8) {
    error <- expect_error(
      foreach(i = 1:8, .options.rustBatch = chunks_of(size)) %dopar% if (i > 2) stop("bad ", i),
      "^task 3 failed - \"bad 3\"$",
      class = "simpleError"
    )
    expect_s3_class(error, c("rustBatch_error_task", "rustBatch_error"))
    expect_identical(error$call, quote(if (i > 2) stop("bad ", i)))
    expect_identical(error$task, 3)
    expect_identical(conditionMessage(error$parent), "bad 3")
  }
  nested <- foreach(i = 1:3) %:% foreach(j = 1:4)
  error <- expect_error(nested %dopar% if (i == 2 && j > 2) stop("bad"), "^task 3 failed - \"bad\"")
  # foreach counts in the inner loop, and the field over all.
  expect_identical(error$task, 7)
  expect_identical(error$arguments[["i"]], "2L")
})

test_that("a .combine or .final that fails raises", {
  backends <- expect_all(expression(
    foreach(i = 1:7, .combine = function(a, b) stop("no combine")) %dopar% i,
    foreach(i = 1:7, .combine = function(a, b) if (b == 5) stop("not 5") else a + b) %dopar% i,
    foreach(i = 1:7, .combine = function(...) stop("none"), .multicombine = TRUE) %dopar% i,
    foreach(i = 1:7, .combine = "+") %dopar% letters[i],
    foreach(i = 1:7, .combine = "+", .errorhandling = "pass") %dopar% if (i > 1) stop("bad") else i,
    foreach(i = 1:7, .final = function(x) stop("no final")) %dopar% i,
    foreach(i = 1:3, .combine = "+") %:% foreach(j = 1:3, .combine = c) %dopar% letters[j],
    foreach(i = 1:3) %:% foreach(j = 1:3, .final = function(x) stop("no final")) %dopar% j,
    foreach(i = countdown(5), .combine = function(a, b) stop("no combine")) %dopar% i
  ))
  setDoPar(backends[[1L]])
  error <- expect_error(
    foreach(i = 1:3, .combine = function(a, b) stop("no combine")) %dopar% i,
    class = "rustBatch_error_loop"
  )
  expect_identical(conditionMessage(error$parent), "no combine")
  # In the words of foreach, and of .final itself.
  error <- expect_error(
    foreach(i = 1:3, .final = function(x) stop("no final")) %dopar% i,
    "^no final$", class = "rustBatch_error_loop"
  )
  expect_identical(class(error),
    c("simpleError", "rustBatch_error_loop", "rustBatch_error", "error", "condition")
  )
  own <- function(x) stop(errorCondition("own words", class = "own", data = 7))
  error <- expect_error(foreach(i = 1:3, .final = own) %dopar% i, class = "own")
  expect_s3_class(error, "rustBatch_error")
  expect_identical(error$data, 7)
})

test_that("what %do% swallows or overtakes is raised", {
  backends <- parity_backends()
  expect_deliberate <- function(loop, message) {
    room <- list2env(list(broken_at = broken_at), new.env(parent = globalenv()))
    expected <- expect_parity(loop, backends, room)
    expect_true(expected$deliberate)
    expect_identical(conditionMessage(expected$error), message)
  }
  expect_deliberate(
    quote(foreach(i = 1:3, .combine = function(a, b) stop("no combine")) %dopar% i), "no combine"
  )
  # A task fails before the iterator does.
  expect_deliberate(
    quote(foreach(i = broken_at(6)) %dopar% if (i == 3) stop("bad") else i),
    "task 3 failed - \"bad\""
  )
})

test_that("iterators of known, unknown and no length", {
  expect_all(expression(
    foreach(i = integer()) %dopar% i,
    foreach(i = NULL, .combine = c) %dopar% i,
    foreach(i = list(), .combine = "+", .init = 5) %dopar% i,
    foreach(i = character(), .final = length) %dopar% i,
    foreach(i = integer(), .combine = c, .final = is.null) %dopar% i,
    foreach(i = 1:3, j = integer()) %dopar% i,
    foreach(i = countdown(0)) %dopar% i,
    foreach(i = countdown(20), .combine = c) %dopar% i,
    foreach(i = 1:3, j = 1:5, .combine = c) %dopar% (i + j),
    foreach(i = 1:3, 1:2, .combine = c) %dopar% i,
    foreach(1:3) %dopar% "only counted",
    foreach(i = list(1, NULL, "a", list(2))) %dopar% i,
    foreach(i = c(a = 1, b = 2)) %dopar% i,
    foreach(i = factor(c("x", "y"))) %dopar% i,
    foreach(i = as.Date("2024-01-01") + 0:2) %dopar% i,
    foreach(i = expression(a + b, c)) %dopar% i,
    foreach(i = matrix(1:6, 2)) %dopar% i,
    foreach(i = iterators::iter(matrix(1:6, 2), by = "row")) %dopar% i,
    foreach(i = iterators::iter(matrix(1:6, 2), by = "column", chunksize = 2)) %dopar% i,
    foreach(i = iterators::iter(matrix(1:4, 2), by = "cell")) %dopar% i,
    foreach(i = data.frame(x = 1:3, y = letters[1:3])) %dopar% i,
    foreach(i = iterators::iter(data.frame(x = 1:3, y = letters[1:3]), by = "row")) %dopar% i,
    foreach(i = iterators::iter(1:9, checkFunc = function(x) x %% 3 == 0), .combine = c) %dopar% i,
    foreach(i = iterators::iter(1:3, recycle = TRUE), j = 1:8, .combine = c) %dopar% (i * j),
    foreach(i = iterators::iter(list(1, "a"), recycle = TRUE), j = 1:5) %dopar% list(i, j),
    foreach(i = iterators::icount(), j = 1:5, .combine = c) %dopar% (i * j),
    foreach(i = iterators::icount(4), .combine = c) %dopar% i,
    foreach(i = iterators::icountn(c(2, 2))) %dopar% i,
    foreach(n = iterators::idiv(20, chunks = 3), .combine = c) %dopar% n,
    foreach(i = iterators::iapply(array(1:8, c(2, 2, 2)), 3)) %dopar% i,
    foreach(i = iterators::isplit(1:6, c("a", "b", "a", "b", "c", "c"))) %dopar% i,
    foreach(i = iterators::isplit(
      data.frame(x = 1:6), list(rep(1:2, 3), rep(letters[1:3], 2))
    )) %dopar% i,
    foreach(i = iterators::ireadLines(textConnection(c("one", "two", "three")))) %dopar% nchar(i)
  ))
})

test_that("an iterator that throws ends the loop with its error, after the tasks before it", {
  expect_all(expression(
    foreach(i = broken_at(1)) %dopar% i,
    foreach(i = broken_at(6)) %dopar% i,
    foreach(i = broken_at(6), .errorhandling = "pass") %dopar% stop("bad"),
    foreach(i = broken_at(4), .errorhandling = "remove") %dopar% i,
    foreach(i = 1:3) %:% foreach(j = broken_at(3)) %dopar% i,
    foreach(i = 1:3) %:% foreach(j = stop("no iterator")) %dopar% i,
    foreach(i = stop("no iterator")) %dopar% i,
    foreach(i = 1:7) %:% when(if (i == 5) stop("no condition") else TRUE) %dopar% i,
    foreach(i = broken_at(4, "%d %s \"quoted\"")) %dopar% message("ran ", i)
  ))
})

test_that("nested loops, when() and times()", {
  expect_all(expression(
    foreach(i = 1:3) %:% foreach(j = 1:2) %dopar% list(i, j),
    foreach(i = 1:3, .combine = cbind) %:% foreach(j = 1:4, .combine = c) %dopar% (i * j),
    foreach(i = 1:3, .combine = c) %:% foreach(j = seq_len(i), .combine = c) %dopar% (i * j),
    foreach(i = 0:3) %:% foreach(j = seq_len(i)) %dopar% (i * j),
    foreach(i = 0:3, .combine = c) %:% foreach(j = seq_len(i), .combine = "+", .init = 9) %dopar% j,
    foreach(i = integer()) %:% foreach(j = 1:2) %dopar% j,
    foreach(a = 1:2) %:% foreach(b = 1:2) %:% foreach(d = 1:3, .combine = c) %dopar% (a + b * d),
    foreach(i = 1:3, .final = rev) %:% foreach(j = 1:2, .final = length) %dopar% j,
    foreach(i = 1:3, .errorhandling = "pass") %:%
      foreach(j = 1:3) %dopar% if (j == 2) stop("bad") else j,
    foreach(i = 1:3) %:% foreach(j = 1:3, .errorhandling = "pass") %dopar% stop("bad"),
    foreach(i = 1:3) %:% foreach(j = 1:3, .errorhandling = "remove") %dopar% stop("bad"),
    foreach(i = 1:3, .errorhandling = "remove") %:%
      foreach(j = 1:3, .errorhandling = "stop") %dopar% if (j == i) stop("bad") else j,
    foreach(i = 1:9, .combine = c) %:% when(i %% 2 == 0) %dopar% i,
    foreach(i = 1:9) %:% when(FALSE) %dopar% i,
    foreach(i = 1:4, .combine = c) %:%
      foreach(j = 1:4, .combine = c) %:% when(i > j) %dopar% (10 * i + j),
    foreach(i = 1:3, .combine = c) %:%
      foreach(j = countdown(3), .combine = c) %:% when(j != 1) %dopar% (i + j),
    times(4) %dopar% "again",
    times(0) %dopar% "never",
    times(2) %:% foreach(j = 1:2, .combine = c) %dopar% j
  ))
})

test_that("messages, warnings and output are told, in the order of the tasks", {
  expect_all(expression(
    foreach(i = 1:6) %dopar% message("message ", i),
    foreach(i = 1:6) %dopar% cat("task", i, "\n"),
    foreach(i = 1:6) %dopar% print(i),
    foreach(i = 1:6, .combine = c) %dopar% {
      warning("warning ", i %% 2)
      i
    },
    foreach(i = 1:6) %dopar% as.integer(letters[i]),
    foreach(i = 1:6) %dopar% suppressWarnings(as.integer(letters[i])),
    foreach(i = 1:6) %dopar% withCallingHandlers(
      {
        message("inside")
        i
      },
      message = function(m) invokeRestart("muffleMessage")
    ),
    foreach(i = 1:6) %dopar% {
      message("before")
      if (i == 4) stop("bad")
    }
  ))
})
