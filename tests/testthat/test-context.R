# What travels with a loop: objects by name and by use, packages, options.

# Objects ----

test_as_user("objects that functions use travel with them, however deep", {
  local_cluster()
  base <- 1
  third <- function(x) x + base
  second <- function(x) third(x) * 2
  first <- function(x) second(x) - 1
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% first(i), c(3, 5, 7))
})

test_as_user("objects of a function's own frame travel, and hide those outside", {
  local_cluster()
  value <- "outer"
  run <- function() {
    value <- "inner"
    factor <- 10
    scaled <- function(i) paste(value, i * factor)
    foreach(i = 1:2, .combine = c) %dopar% scaled(i)
  }
  expect_identical(run(), c("inner 10", "inner 20"))
  make <- function(by) function(i) i * by
  double <- make(2)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% double(i), c(2, 4, 6))
})

test_as_user("an object of the global environment is found by functions that live there", {
  local_cluster()
  at_end(quote(rm(rb_global, rb_user, envir = globalenv())), environment())
  eval(quote({
    rb_global <- 5
    rb_user <- function(i) i + rb_global
  }), globalenv())
  run <- function() foreach(i = 1:2, .combine = c) %dopar% rb_user(i)
  expect_identical(run(), c(6, 7))
  expect_identical(
    eval(quote(foreach(i = 1:2, .combine = c) %dopar% rb_user(i)), globalenv()), c(6, 7)
  )
})

test_as_user("... of the calling function is there, empty or not", {
  local_cluster()
  run <- function(...) foreach(i = 1:2, .combine = c) %dopar% sum(i, ...)
  expect_silent(values <- run(1, 2))
  expect_identical(values, c(4, 5))
  expect_identical(run(), 1:2)
  named <- function(...) foreach(i = 1:2) %dopar% names(list(...))
  expect_identical(named(a = 1, b = 2), list(c("a", "b"), c("a", "b")))
})

test_as_user("recursive functions, formulas, and environments travel", {
  local_cluster()
  factorial_of <- function(n) if (n < 2) 1 else n * factorial_of(n - 1)
  expect_identical(foreach(i = 1:5, .combine = c) %dopar% factorial_of(i), c(1, 2, 6, 24, 120))
  box <- new.env()
  box$x <- 3
  expect_identical(foreach(i = 1:2, .combine = c) %dopar% (box$x * i), c(3, 6))
  data <- data.frame(y = c(1, 2, 3.5), x = 1:3)
  slope <- foreach(1, .combine = c) %dopar% coef(lm(y ~ x, data))[[2]]
  expect_equal(slope, 1.25)
})

test_as_user("a large object that loops share has the same value in each", {
  local_cluster()
  big <- runif(5e5)
  names(big) <- NULL
  attr(big, "note") <- "kept"
  for (k in 1:2) {
    seen <- foreach(1:4) %dopar% list(sum(big), length(big), attr(big, "note"))
    expect_identical(unique(seen), list(list(sum(big), length(big), "kept")))
  }
  big[1] <- 1000
  expect_identical(foreach(1, .combine = c) %dopar% big[1], 1000)
})

test_as_user("what a loop has used is freed when the user removes it", {
  local_cluster(1)
  freed <- FALSE
  made <- local({
    large <- runif(10)
    function(i) i + length(large)
  })
  reg.finalizer(environment(made), function(env) freed <<- TRUE)
  expect_identical(foreach(i = 1:2, .combine = c) %dopar% made(i), c(11L, 12L))
  rm(made)
  gc()
  expect_true(freed)
})

test_as_user(".export adds what is only named in a text, .noexport leaves out", {
  local_cluster()
  named <- 7
  by_name <- function() foreach(1, .combine = c, .export = "named") %dopar% get("named")
  expect_identical(by_name(), 7)
  expect_error(
    foreach(1, .export = "no_such_object") %dopar% 1, "unable to find variable \"no_such_object\""
  )
  there <- foreach(1, .combine = c, .noexport = "named") %dopar% exists("named")
  expect_false(there)
  expect_error(foreach(1, .noexport = "named") %dopar% named, "object 'named' not found")
})

test_as_user("an object that is nowhere is an error of the task, as in %do%", {
  local_cluster()
  expect_error(
    foreach(i = 1:2) %dopar% no_such_object, "task 1 failed - \"object 'no_such_object' not found\""
  )
})

test_as_user("a cluster is not sent, whatever holds it by name", {
  mine <- local_cluster(1)
  error <- expect_error(foreach(1) %dopar% print(mine), class = "rustBatch_error_export")
  expect_match(conditionMessage(error), ".noexport = \"mine\"", fixed = TRUE)
})

# Packages ----

test_as_user("packages are attached where tasks run", {
  local_cluster()
  attached <- foreach(1:2, .packages = c("splines", "stats4")) %dopar% search()
  expect_true(all(c("package:splines", "package:stats4") %in% attached[[2]]))
  # They do not stay for a loop that did not ask.
  expect_false("package:splines" %in% (foreach(1) %dopar% search())[[1]])
  rows <- foreach(i = 1:2, .combine = c, .packages = "splines") %dopar% nrow(bs(1:10, df = 4))
  expect_identical(rows, c(10L, 10L))
})

test_as_user("a function of a package that is attached here is found there", {
  local_cluster()
  library(stats4)
  at_end(quote(detach("package:stats4")), environment())
  fitted <- foreach(i = 1:2, .combine = c) %dopar% {
    coef(mle(function(m = 1) (m - i)^2))[["m"]]
  }
  expect_equal(fitted, c(1, 2), tolerance = 1e-3)
})

test_as_user("a loop in a package finds what the package does not export", {
  local_fixture()
  local_cluster()
  expect_identical(rbFixture::run(3), c(103, 106, 109))
  expect_identical(rbFixture::run(3, by = 2), c(102, 104, 106))
})

test_as_user("what a package sets when it is loaded stays for the tasks and loops after it", {
  local_fixture()
  local_cluster(1)
  loop <- function() {
    foreach(1:4, .combine = c, .options.rustBatch = chunks_of(2)) %dopar% {
      Sys.sleep(0.002)
      rbFixture::level()
    }
  }
  expect_identical(loop(), rep(7, 4))
  expect_identical(loop(), rep(7, 4))
  asked <- function() foreach(1:2, .combine = c, .packages = "rbFixture") %dopar% level()
  expect_identical(asked(), c(7, 7))
  expect_identical(foreach(1, .combine = c) %dopar% 1, 1)
  expect_identical(asked(), c(7, 7))
})

# Options ----

test_as_user("options that change numbers and text are those of the session", {
  local_cluster()
  before <- options(digits = 3, OutDec = ",")
  at_end(bquote(options(.(before))), environment())
  expect_identical((foreach(1) %dopar% format(pi))[[1]], format(pi))
  options(before)
  expect_identical((foreach(1) %dopar% format(pi))[[1]], "3.141593")
})

test_as_user("large exports are warned of, with the three largest, and sent", {
  local_cluster(1)
  at_end(bquote(options(.(options(rustBatch.export.warn = 1e6)))), environment())
  a <- numeric(1e5)
  b <- numeric(2e5)
  d <- numeric(3e5)
  e <- 1
  expect_warning(
    sums <- foreach(1, .combine = c) %dopar% (sum(a, b, d) + e),
    "`d` \\(2 MB\\), `b` \\(2 MB\\), `a` \\(1 MB\\)"
  )
  expect_identical(sums, 1)
})

test_as_user("a large object is sent once, and again when it has changed", {
  cluster <- local_cluster(2)
  data <- matrix(as.numeric(1:1e6), ncol = 10)
  bytes <- function() {
    status <- readLines(sprintf("/proc/%d/io", Sys.getpid()))
    as.numeric(sub("wchar: ", "", grep("^wchar", status, value = TRUE)))
  }
  skip_without_proc()
  sent <- function(code) {
    before <- bytes()
    force(code)
    bytes() - before
  }
  first <- sent(sums <- foreach(i = 1:10, .combine = c) %dopar% sum(data[, i]))
  expect_identical(sums, unname(colSums(data)))
  again <- sent(foreach(i = 1:10, .combine = c) %dopar% sum(data[, i]))
  expect_gt(first, 1e6)
  expect_lt(again, 1e6)
  data[1, 1] <- 0
  expect_identical(foreach(i = 1:10, .combine = c) %dopar% sum(data[, i]), unname(colSums(data)))
  # A change of the attributes alone is a change.
  dim(data) <- NULL
  expect_null((foreach(1) %dopar% dim(data))[[1]])
})

test_as_user("a short task's changes to the session are taken back, if the loop names them", {
  local_cluster(1)
  options <- foreach(i = 1:500, .combine = c) %dopar% {
    seen <- getOption("rustBatch.test")
    options(rustBatch.test = i)
    is.null(seen)
  }
  expect_true(all(options))
  variables <- foreach(i = 1:500, .combine = c) %dopar% {
    seen <- Sys.getenv("RUSTBATCH_TEST")
    Sys.setenv(RUSTBATCH_TEST = i)
    seen == ""
  }
  expect_true(all(variables))
  foreach(i = 1:3) %dopar% setTimeLimit(elapsed = 0.3)
  expect_length(foreach(i = 1:40) %dopar% Sys.sleep(0.02), 40)
})
