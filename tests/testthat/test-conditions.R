test_that("abort() raises a condition of its kind, with fields", {
  error <- expect_error(
    abort("config", "`workers` is 0.", list(field = "workers", value = 0)),
    class = "rustBatch_error_config"
  )
  expect_s3_class(error, c("rustBatch_error_config", "rustBatch_error", "error"), exact = FALSE)
  expect_identical(conditionMessage(error), "`workers` is 0.")
  expect_identical(error$field, "workers")
  expect_identical(error$value, 0)
  expect_null(error$parent)
})

test_that("a condition shows what caused it", {
  cause <- simpleError("singular matrix", quote(solve(x)))
  middle <- failure_condition("task", "Task 3 failed.", parent = cause)
  error <- failure_condition("lost", "The loop stopped.", parent = middle)
  expect_identical(error$parent$parent, cause)
  expect_identical(
    conditionMessage(error),
    paste(
      "The loop stopped.",
      "Caused by an error:",
      "Task 3 failed.",
      "Caused by an error in `solve(x)`:",
      "singular matrix",
      sep = "\n"
    )
  )
})

test_that("print() shows class, message and fields", {
  error <- failure_condition("lost", "A worker is gone.", list(worker = "w-1", tasks = 1:3))
  expect_output(print(error), "<rustBatch_error_lost>\nA worker is gone.", fixed = TRUE)
  expect_output(print(error), "worker: w-1\ntasks: 1 2 3", fixed = TRUE)
  expect_output(print(failure_condition("lost", "Gone.")), "<rustBatch_error_lost>\nGone.")
})

test_that("the call is the one by which the user came in", {
  ours <- new.env(parent = asNamespace("rustBatch"))
  local(envir = ours, {
    entrance <- function(x) inside(x)
    inside <- function(x) tryCatch(lapply(x, refuse), finally = NULL)
    refuse <- function(x) abort("closed", "The cluster is stopped.")
  })
  theirs <- list2env(list(entrance = ours$entrance), parent = globalenv())
  user <- local(envir = theirs, function() entrance(1))

  expect_identical(conditionCall(expect_error(user())), quote(entrance(1)))
  expect_identical(conditionCall(expect_error(abort("closed", "x"))), quote(abort("closed", "x")))
})

test_that("unwrap() gives values back as they are", {
  expect_identical(unwrap(NULL), NULL)
  expect_identical(unwrap(list(1, "a")), list(1, "a"))
  expect_identical(unwrap(factor("a")), factor("a"))
})

test_that("an error does not show a call that holds a password", {
  call <- function(code) conditionCall(tryCatch(code, rustBatch_error = identity))
  expect_identical(call(makeCluster(2, redis = "http://u:s3cret@h")), quote(makeCluster()))
  secret <- list(aws = list(secretAccessKey = "s3cret"))
  expect_identical(call(setCredentials(secret)), quote(setCredentials()))
  expect_identical(call(makeCluster(colour = "red")), quote(makeCluster(colour = "red")))
})

test_as_user("what does not have the form that it has on the wire is refused", {
  cluster <- local_cluster(1)
  error <- expect_error(
    rustBatch:::export_again(cluster$pointer, 1, "no id!"), class = "rustBatch_error_corrupt"
  )
  expect_match(conditionMessage(error), "`no id!` is not", fixed = TRUE)
})
