# The packages that a loop asks for.

lines_of <- function(file) if (file.exists(file)) readLines(file) else character()

test_as_user("a package that a loop asks for is installed once for all R processes of a worker", {
  log <- tempfile("log-")
  url <- local_repository(list(
    rbLoop = list(
      needs = "Imports: rbLoopDep", r = "twice <- function(x) rbLoopDep::two * x",
      configure = paste0("echo configured >>", log)
    ),
    rbLoopDep = list(r = "two <- 2")
  ))
  local_installing_cluster(2, setup_from(url))
  loop <- function() {
    foreach(i = 1:6, .packages = "rbLoop", .options.rustBatch = chunks_of(1)) %dopar% {
      Sys.sleep(0.05)
      list(twice(i), Sys.getpid(), .libPaths(), Sys.getenv(c("R_LIBS", "RUSTBATCH_LIBRARY")))
    }
  }
  found <- loop()
  expect_equal(vapply(found, `[[`, 0, 1L), 2 * (1:6))
  expect_length(unique(vapply(found, `[[`, 0L, 2L)), 2L)
  expect_length(lines_of(log), 1L)
  # The worker's own library comes first, for R processes that tasks start, too.
  library <- found[[1L]][[3L]][1L]
  expect_match(library, "rustBatch-.*/library$")
  expect_equal(strsplit(found[[1L]][[4L]][[1L]], ":")[[1L]][1L], library)
  expect_equal(found[[1L]][[4L]][[2L]], "")
  loop()
  expect_length(lines_of(log), 1L)
  # This session has no more than it had.
  expect_false(requireNamespace("rbLoop", quietly = TRUE))
})

test_as_user("a package that can't be installed is an error of the tasks, tried once for a loop", {
  log <- tempfile("log-")
  url <- local_repository(list(
    rbBroken = list(configure = c(paste0("echo configured >>", log), "echo c0mplaint; exit 3"))
  ))
  local_installing_cluster(2, setup_from(url))
  loop <- function(package, handling, n = 6) {
    foreach(i = seq_len(n), .packages = package, .errorhandling = handling,
      .options.rustBatch = chunks_of(2)
    ) %dopar% i
  }
  passed <- loop("rbBroken", "pass")
  expect_length(passed, 6L)
  for (error in passed) {
    expect_s3_class(error, c("rustBatch_error_package", "rustBatch_error", "error"), exact = FALSE)
    expect_equal(error$package, "rbBroken")
    expect_match(conditionMessage(error), "`rbBroken`: its installation failed.*c0mplaint")
  }
  expect_length(lines_of(log), 1L)
  expect_equal(loop("rbBroken", "remove", 3), list())
  expect_length(lines_of(log), 2L)
  error <- expect_error(loop("rbNowhere", "stop"), class = "rustBatch_error_package")
  expect_s3_class(error, "rustBatch_error_task")
  part <- paste0("task 1 failed.*`rbNowhere`: there is no such .*", url)
  expect_match(conditionMessage(error), part)
  # The worker goes on.
  expect_equal(foreach(i = 1:3, .combine = c, .packages = "stats") %dopar% i, 1:3)
})

test_as_user("a worker on this machine installs nothing", {
  url <- local_repository(list(rbLoop = list()))
  old <- options(repos = url)
  at_end(bquote(options(.(old))), environment())
  local_cluster(1)
  error <- expect_error(
    foreach(i = 1:2, .packages = "rbLoop") %dopar% i, class = "rustBatch_error_context"
  )
  expect_match(conditionMessage(error), "there is no package called .rbLoop.")
})

test_as_user("what this session has is not installed again where the worker finds it, too", {
  local_fixture()
  local_installing_cluster(1, setup_from("file:///no/such"))
  found <- foreach(i = 1:2, .packages = "rbFixture", .combine = c) %dopar% level()
  expect_equal(found, c(7, 7))
})

test_as_user("a worker has its packages before it joins, or does not start", {
  url <- local_repository(list(rbStart = list(r = "three <- 3")))
  packages <- function(name) sprintf(",\"packages\":{\"cran\":[\"%s\"]}", name)
  local_installing_cluster(1, setup_from(url, packages("rbStart")))
  expect_equal(foreach(i = 1:2, .combine = c) %dopar% rbStart::three, c(3, 3))
  error <- expect_error(
    local_installing_cluster(1, setup_from(url, packages("rbNone"))), class = "rustBatch_error"
  )
  expect_match(conditionMessage(error), "can't install the R package `rbNone`: there is no such")
})

# ---- github and bioconductor ---------------------------------------------------------------------

test_as_user("`github` and `bioconductor` of foreach() are no iterators", {
  local_cluster(1)
  expect_equal(
    foreach(i = 1:3, github = c("u/r", "u/s@v1"), bioconductor = "a1", .combine = c) %dopar% i, 1:3
  )
  expect_equal(
    foreach(a = 1:2, github = "u/r", .combine = c) %:% foreach(b = 1:2, .combine = c) %dopar%
      (10 * a + b),
    c(11, 12, 21, 22)
  )
  expect_equal(
    foreach(i = 1:4, github = "u/r", .combine = c) %:% when(i > 2) %dopar% i, 3:4
  )
  expect_equal(
    foreach(i = 1:3, .options.rustBatch = list(github = "u/r"), .combine = c) %dopar% i, 1:3
  )
})

test_as_user("an argument that tasks use is an iterator, whatever its name", {
  local_cluster(1)
  expect_equal(
    foreach(i = 1:2, github = c("u/r", "u/s"), .combine = c) %dopar% paste(i, github),
    c("1 u/r", "2 u/s")
  )
  expect_equal(foreach(github = c("u/r", "u/s"), .combine = c) %dopar% 1, c(1, 1))
  expect_equal(foreach(i = 1:3, github = 1:2, .combine = c) %dopar% i, 1:2)
  expect_equal(
    foreach(i = 1:2, github = c("u/r", "u/ss"), .combine = c) %:%
      foreach(j = seq_len(nchar(github)), .combine = c) %dopar% j,
    c(1:3, 1:4)
  )
})

test_that("packages are asked for by their source", {
  asked <- function(...) take_packages(foreach(...), quote(i))
  taken <- asked(i = 1:3, github = "u/r@v1", .packages = c("r", "stats"))
  expect_equal(taken$packages, list(github = "u/r@v1"))
  expect_equal(taken$obj$argnames, "i")
  wanted <- wanted_packages(taken$obj$packages, taken$packages)
  expect_equal(wanted, list("stats", "u/r@v1", character(), .libPaths()))
  expect_null(wanted_packages(NULL, list()))
  both <- asked(i = 1, bioconductor = "a1", .options.rustBatch = list(bioconductor = "b2"))
  expect_equal(both$packages$bioconductor, c("a1", "b2"))
})

test_that("what can be no package is refused", {
  asked <- function(...) take_packages(foreach(i = 1:3, ...), quote(i))
  error <- expect_error(asked(github = "r"), class = "rustBatch_error_config")
  expect_match(conditionMessage(error), "`github` of foreach(): the text \"r\"", fixed = TRUE)
  expect_error(asked(github = c("u/r", NA)), class = "rustBatch_error_config")
  expect_error(asked(bioconductor = "u/r"), class = "rustBatch_error_config")
  expect_error(asked(.options.rustBatch = list(github = 1)), class = "rustBatch_error_config")
})
