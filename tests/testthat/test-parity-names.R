# What a loop uses is found where %do% finds it, and stays where it is.

test_that("what a loop uses is found where %do% finds it", {
  expect_all(expression(
    (function(a, b) foreach(i = 1:3) %dopar% if (i > 0) a else b)(1),
    (function(a, b = stop("not needed")) foreach(i = 1:3) %dopar% if (i > 0) a else b)(1),
    (function(...) foreach(i = 1:3) %dopar% c(i, ...))(4, 5),
    (function(...) foreach(i = 1:3) %dopar% c(i, ...))(),
    (function(...) foreach(i = 1:3) %dopar% list(...))(a = 1, 2),
    (function(...) foreach(i = 1:3) %dopar% ..1)(4, 5),
    (function(...) foreach(i = 1:2) %dopar% ...elt(i))(4, 5),
    (function(...) foreach(i = 1:2) %dopar% ...length())(4, 5),
    (function(...) {
      g <- function(i) sum(i, ...)
      foreach(i = 1:3) %dopar% g(i)
    })(1, 2),
    local({
      limit <- 2
      foreach(i = 1) %dopar% {
        if (i > 1) limit <- 3
        limit
      }
    }),
    local({
      x <- "outer"
      g <- function() x
      (function() {
        x <- "inner"
        foreach(i = 1:2) %dopar% paste(g(), x)
      })()
    }),
    local({
      x <- "outer"
      h <- function() paste(x, "in h")
      (function() {
        y <- "inner"
        g <- function() paste(x, y, h())
        foreach(i = 1:2) %dopar% g()
      })()
    }),
    local({
      make <- function(k) function(x) x + k
      f <- make(10)
      foreach(i = 1:2) %dopar% f(i)
    }),
    local({
      fact <- function(n) if (n < 2) 1 else n * fact(n - 1)
      foreach(i = 3:4) %dopar% fact(i)
    }),
    local({
      even <- function(n) if (n == 0) TRUE else odd(n - 1)
      odd <- function(n) if (n == 0) FALSE else even(n - 1)
      foreach(i = 3:4) %dopar% even(i)
    }),
    local({
      `%+%` <- function(a, b) paste(a, b)
      `second<-` <- function(x, value) replace(x, 2, value)
      foreach(i = 1:2) %dopar% {
        v <- 1:3
        second(v) <- i
        v %+% i
      }
    }),
    local({
      d <- data.frame(x = 1:5, y = c(2, 4, 5, 4, 5))
      f <- y ~ x
      foreach(i = 1:2) %dopar% coef(lm(f, data = d))
    }),
    local({
      i <- 100
      foreach(j = 1:2) %dopar% vapply(1:2, function(i) i + j, 0)
    }),
    foreach(c = 1:3) %dopar% c(c, 1),
    foreach(pi = 1:3, .combine = c) %dopar% pi,
    foreach(i = 1:3) %dopar% (foreach(j = 1:2, .combine = c) %dopar% (i + j)),
    foreach(i = 1:3) %dopar% (foreach(j = 1:2, .combine = c) %do% (i * j))
  ))
})

test_that(".export, .noexport and .packages do what %do% has no need to do", {
  backends <- parity_backends()
  for (backend in backends) {
    setDoPar(backend)
    by_name <- "the value"
    values <- foreach(i = 1:3, .export = "by_name") %dopar% get(paste0("by", "_name"))
    expect_identical(values, rep(list("the value"), 3))
    expect_error(
      foreach(i = 1:3, .export = "no_such_object") %dopar% i,
      "unable to find variable \"no_such_object\"", fixed = TRUE, class = "rustBatch_error_export"
    )
    expect_error(
      foreach(i = 1:3, .noexport = "by_name") %dopar% by_name, "object 'by_name' not found"
    )
    values <- foreach(i = 1:3, .packages = "splines") %dopar% is.function(bs)
    expect_identical(values, rep(list(TRUE), 3))
    error <- expect_error(
      foreach(i = 1:3, .packages = "noSuchPackage") %dopar% i, class = "rustBatch_error_context"
    )
    expect_match(conditionMessage(error$parent), "no package called .noSuchPackage.")
  }
  expect_false("package:splines" %in% search())
})

test_that("a task sees nothing that another assigned, and neither does the session", {
  for (backend in parity_backends()) {
    setDoPar(backend)
    counter <- 0
    values <- foreach(i = 1:6, .combine = c) %dopar% {
      counter <- counter + 1
      left_behind <- i
      counter
    }
    expect_identical(values, rep(1, 6))
    expect_identical(counter, 0)
    expect_false(exists("left_behind"))
    expect_false(exists("i", inherits = FALSE))
  }
})

test_that(".verbose shows foreach's own account, and changes no value", {
  for (backend in parity_backends()) {
    setDoPar(backend)
    said <- capture.output(
      value <- foreach(i = 1:3, .combine = c, .verbose = TRUE) %:% foreach(j = 1:2) %dopar% (i + j)
    )
    expect_identical(value, list(2L, 3L, 3L, 4L, 4L, 5L))
    expect_true("first call to combine function" %in% said)
  }
})

test_that("a loop in the global environment, and one in a package, are as %do% has them", {
  backends <- parity_backends()
  at_end(quote(rm(parity_offset, parity_add, envir = globalenv())), environment())
  assign("parity_offset", 5, globalenv())
  assign("parity_add", eval(quote(function(x) x + parity_offset), globalenv()), globalenv())
  for (backend in backends) {
    setDoPar(backend)
    loop <- quote(foreach(i = 1:3, .combine = c) %dopar% parity_add(i))
    expect_identical(eval(loop, globalenv()), c(6, 7, 8))
    # What a package does not export, its own code finds.
    inside <- function(x) foreach(i = x, .combine = c) %dopar% is.function(.check_packages)
    environment(inside) <- asNamespace("tools")
    expect_identical(inside(1:3), c(TRUE, TRUE, TRUE))
  }
})

test_that("registerDoSEQ() goes back to this session at any time", {
  local_cluster(1)
  there <- foreach(i = 1, .combine = c) %dopar% Sys.getpid()
  expect_false(there == Sys.getpid())
  foreach::registerDoSEQ()
  here <- foreach(i = 1, .combine = c) %dopar% Sys.getpid()
  expect_identical(here, Sys.getpid())
})

test_that("a task's own variable is not taken for a cluster of that name, which is never sent", {
  cluster <- local_cluster(1)
  values <- foreach(i = 1:2, .combine = c) %dopar% {
    cluster <- i
    cluster
  }
  expect_identical(values, 1:2)
  expect_error(foreach(i = 1:2) %dopar% class(cluster), class = "rustBatch_error_export")
})
