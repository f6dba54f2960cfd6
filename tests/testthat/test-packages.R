# What uses foreach gives on rustBatch what it gives on registerDoSEQ(): foreach's own examples,
# plyr, glmnet, caret and doRNG.

skip_without <- function(package) {
  missing <- paste("SKIPPED: package", package, "is not installed")
  testthat::skip_if_not(requireNamespace(package, quietly = TRUE), missing)
}

# `code` on registerDoSEQ(), then on 1 and on 2 slots; what rustBatch gave must be the same.
expect_as_sequential <- function(code, frame = parent.frame()) {
  code <- substitute(code)
  run <- function(slots) {
    if (slots > 0L) local_cluster(slots) else foreach::registerDoSEQ()
    # plyr warns where there is one worker only.
    suppressWarnings(suppressMessages(eval(code, frame)))
  }
  sequential <- run(0L)
  for (slots in 1:2) expect_identical(plain(run(slots)), plain(sequential))
  invisible(sequential)
}

# ---- foreach's own examples ----------------------------------------------------------------------

# The example scripts that foreach comes with, but for those that are about something else: random
# numbers (boot*, see doRNG below), databases that they leave behind (big*, sqlite), and the package
# randomForest (rf, tuneRF), of which the vignettes' part is left out.
foreach_scripts <- function() {
  home <- system.file(package = "foreach")
  scripts <- c(
    list.files(file.path(home, "examples"), "[.]R$", full.names = TRUE),
    list.files(file.path(home, c("demo", "doc")), "[.]R$", full.names = TRUE)
  )
  apart <- "^(boot.*|big.*|sqlite|rf|tuneRF)[.]R$"
  scripts[!grepl(apart, basename(scripts))]
}

# %do% becomes %dopar%, unless the tasks draw random numbers; what is large becomes small.
as_parallel <- function(code) {
  draws <- c("rnorm", "runif", "sample")
  small <- list(NUMROWS = 100, NUMCOLS = 8)
  parallel <- function(code) {
    if (identical(code[[1L]], as.name("<-")) && is.numeric(code[[3L]])) {
      code[[3L]] <- min(code[[3L]], small[[as.character(code[[2L]])]])
    }
    random <- identical(code[[1L]], as.name("%do%")) && any(all.names(code[[3L]]) %in% draws)
    for (k in seq_along(code)) {
      if (is.call(code[[k]])) code[[k]] <- parallel(code[[k]])
      if (is.numeric(code[[k]]) && code[[k]] > 1e5) code[[k]] <- code[[k]] / 1000
    }
    if (identical(code[[1L]], as.name("%do%")) && !random) code[[1L]] <- as.name("%dopar%")
    code
  }
  if (is.call(code)) parallel(code) else code
}

# Runs a script in the global environment of a session of its own, as a user would. Gives what it
# printed and what it made.
run_script <- function(script, file) {
  others <- ls(globalenv())
  nothing <- c("persp", "hist", "dev.new", "file.show", "Sys.sleep")
  tools <- c(
    stats::setNames(rep(list(function(...) NULL), length(nothing)), nothing),
    system.time = function(expr) {
      force(expr)
      "some time"
    },
    tempfile = eval(bquote(function(...) .(file))),
    # Some cut their data into as many pieces as there are workers.
    getDoParWorkers = function() 3
  )
  for (tool in names(tools)) environment(tools[[tool]]) <- globalenv()
  list2env(tools, globalenv())
  setwd(dirname(script))
  set.seed(1)
  printed <- utils::capture.output(for (code in as.list(parse(script, keep.source = FALSE))) {
    if (!"randomForest" %in% all.names(code)) {
      shown <- withVisible(eval(as_parallel(code), globalenv()))
      if (shown$visible) print(shown$value)
    }
  })
  made <- mget(setdiff(ls(globalenv()), c(others, names(tools))), globalenv())
  rm(list = setdiff(ls(globalenv()), others), envir = globalenv())
  kept <- function(x) !is.function(x) && !is.environment(x) && !inherits(x, c("iter", "connection"))
  printed <- printed[!startsWith(printed, "<bytecode")]
  list(printed = printed, made = Filter(kept, made))
}

test_that("the examples of foreach", {
  skip_without_redis()
  scripts <- foreach_scripts()
  expect_gt(length(scripts), 12L)
  file <- tempfile("foreach-")
  at_end(quote(unlink(file)), environment())
  runs <- lapply(0:2, function(slots) {
    in_fresh_r(
      {
        options(rustBatch.seed = "none", warn = -1)
        if (slots > 0L) registerDoRustBatch(makeCluster(slots)) else foreach::registerDoSEQ()
        library(iterators)
        environment(run_script) <- environment()
        lapply(scripts, function(script) {
          tryCatch(run_script(script, file), error = conditionMessage)
        })
      },
      slots = slots, scripts = stats::setNames(scripts, basename(scripts)),
      run_script = run_script, as_parallel = as_parallel, file = file, timeout = 240
    )
  })
  for (script in basename(scripts)) {
    sequential <- runs[[1L]][[script]]
    for (run in runs[-1L]) expect_identical(plain(run[[script]]), plain(sequential), label = script)
  }
})

# ---- packages ------------------------------------------------------------------------------------

test_as_user("plyr, .parallel = TRUE", {
  skip_without("plyr")
  add <- 3
  square <- function(x, ...) x^2 + add
  groups <- data.frame(g = rep(letters[1:4], 5), x = 1:20)
  expect_as_sequential(plyr::llply(1:20, square, .parallel = TRUE))
  expect_as_sequential(plyr::llply(list(a = 1, b = NULL), length, .parallel = TRUE))
  expect_as_sequential(plyr::llply(list(), length, .parallel = TRUE))
  expect_as_sequential(plyr::laply(1:20, function(i) c(i, i^2), .parallel = TRUE))
  expect_as_sequential(plyr::ldply(1:5, function(i) data.frame(i = i, a = add), .parallel = TRUE))
  expect_as_sequential(
    plyr::ddply(groups, "g", plyr::summarise, m = mean(x), .parallel = TRUE)
  )
  expect_as_sequential(plyr::daply(groups, "g", function(d) sum(d$x), .parallel = TRUE))
  expect_as_sequential(plyr::aaply(matrix(1:6, 2), 1, sum, .parallel = TRUE))
  expect_as_sequential(plyr::mlply(groups[1:3, ], function(g, x) paste(g, x), .parallel = TRUE))
  # Its `...` holds code that means something only within the data; a global `x` is not meant.
  at_end(quote(rm(x, extra, envir = globalenv())), environment())
  list2env(list(x = 1000, extra = 0.5), globalenv())
  expect_as_sequential(
    plyr::ddply(groups, "g", plyr::summarise, m = mean(x) + extra, .parallel = TRUE)
  )
  expect_as_sequential(plyr::llply(
    1:6, function(x) trimws(format(x)), .parallel = TRUE, .paropts = list(.packages = "stats")
  ))
  expect_as_sequential(tryCatch(
    plyr::llply(1:4, function(x) if (x == 3) stop("bad") else x, .parallel = TRUE),
    error = conditionMessage
  ))
})

test_as_user("glmnet::cv.glmnet(parallel = TRUE), with fixed folds", {
  skip_without("glmnet")
  set.seed(1)
  x <- matrix(rnorm(60 * 8), 60)
  y <- drop(x %*% c(2, -1, rep(0, 6))) + rnorm(60)
  folds <- rep(1:5, length.out = 60)
  fit <- function(y, ...) {
    fitted <- suppressWarnings(glmnet::cv.glmnet(x, y, foldid = folds, parallel = TRUE, ...))
    fitted[setdiff(names(fitted), "call")]
  }
  expect_as_sequential(fit(y))
  expect_as_sequential(fit(as.integer(y > 0), family = "binomial", type.measure = "auc"))
  expect_as_sequential(fit(cbind(time = exp(y), status = 1), family = "cox"))
})

test_as_user("caret::train()", {
  skip_without("caret")
  seeds <- as.list(101:106)
  seeds[1:5] <- lapply(seeds[1:5], function(seed) seed + 0:4)
  train <- function(method, ...) {
    set.seed(3)
    suppressPackageStartupMessages(model <- caret::train(
      Species ~ ., iris, method = method, ...,
      trControl = caret::trainControl("cv", number = 5, seeds = seeds, savePredictions = "final")
    ))
    # By fold: foreach combines in order, but caret leaves .inorder to its own.
    model[c("results", "bestTune", "resample", "pred", "finalModel")]
  }
  expect_as_sequential(train("knn", tuneLength = 3)[c("results", "bestTune", "resample", "pred")])
  expect_as_sequential(train("rpart", tuneLength = 2)[c("results", "bestTune", "resample", "pred")])
})

test_as_user("doRNG gives the same numbers on any backend, and .options.RNG", {
  skip_without("doRNG")
  `%dorng%` <- doRNG::`%dorng%`
  loop <- function(n = 7, size = NULL) {
    foreach(i = seq_len(n), .options.rustBatch = chunks_of(size)) %dorng% c(i, runif(2))
  }
  seeded <- expect_as_sequential({
    set.seed(42)
    loop()
  })
  expect_false(anyDuplicated(lapply(seeded, `[`, 2L)) > 0L)
  expect_length(attr(seeded, "rng"), 7L)
  # The session's generator is where doRNG left it, for what comes next.
  expect_as_sequential({
    set.seed(42)
    list(loop(), loop(3), runif(1))
  })
  expect_as_sequential(foreach(i = 1:4, .options.RNG = 123) %dorng% rnorm(2))
  expect_as_sequential({
    set.seed(5)
    foreach(i = 1:4, .combine = rbind) %dorng% sample(10, 3)
  })
  local_cluster(2)
  for (size in c(1, 3, 7)) {
    set.seed(42)
    expect_identical(loop(size = size), seeded)
  }
  # From one loop to the next the numbers go on, and a result's seeds give the result again.
  set.seed(42)
  both <- list(loop(), loop())
  expect_identical(both[[1L]], seeded)
  expect_false(identical(both[[1L]], both[[2L]]))
  again <- foreach(i = 1:7, .options.RNG = attr(seeded, "rng")) %dorng% c(i, runif(2))
  expect_identical(again, seeded, ignore_attr = TRUE)
})

test_as_user("registerDoRNG() makes %dopar% reproducible", {
  skip_without("doRNG")
  expect_as_sequential({
    suppressWarnings(doRNG::registerDoRNG(11))
    list(foreach(i = 1:3) %dopar% rnorm(1), foreach(i = 1:3) %dopar% rnorm(1))
  })
})

test_as_user("a bootstrap of foreach's examples, with doRNG", {
  skip_without("doRNG")
  `%dorng%` <- doRNG::`%dorng%`
  x <- iris[which(iris[, 5] != "setosa"), c(1, 5)]
  expect_as_sequential({
    set.seed(1)
    foreach(iterators::icount(30), .combine = cbind) %dorng% {
      ind <- sample(100, 100, replace = TRUE)
      coefficients(glm(x[ind, 2] ~ x[ind, 1], family = binomial(logit)))
    }
  })
})
