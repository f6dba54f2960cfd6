# The numbers of a loop: one draw here, a stream for each task there.

draws <- function(n, size = NULL) {
  foreach(i = seq_len(n), .combine = c, .options.rustBatch = list(chunkSize = size)) %dopar% {
    c(runif(1), rnorm(1), sample.int(100, 1))
  }
}

# What the tasks are to draw, by what R offers.
expected <- function(n, seed) {
  at_end(bquote(restore_generator(.(generator()))), environment())
  set.seed(seed)
  draw <- sample.int(.Machine$integer.max, 1L)
  RNGkind("L'Ecuyer-CMRG")
  set.seed(draw)
  stream <- get(".Random.seed", globalenv())
  values <- numeric()
  for (i in seq_len(n)) {
    assign(".Random.seed", stream, globalenv())
    values <- c(values, runif(1), rnorm(1), sample.int(100, 1))
    stream <- parallel::nextRNGStream(stream)
  }
  values
}

generator <- function() {
  list(kind = RNGkind(), seed = get0(".Random.seed", globalenv(), inherits = FALSE))
}

restore_generator <- function(state) {
  do.call(RNGkind, as.list(state$kind))
  if (is.null(state$seed)) {
    suppressWarnings(rm(".Random.seed", envir = globalenv()))
  } else {
    assign(".Random.seed", state$seed, globalenv())
  }
}

test_as_user("the numbers are parallel's streams, whatever the slots and chunks", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  wanted <- expected(25, 42)
  for (slots in c(1, 2, 7)) {
    cluster <- local_cluster(slots)
    for (size in list(NULL, 1, 3, 1000)) {
      set.seed(42)
      expect_identical(draws(25, size), wanted)
    }
    stopCluster(cluster)
  }
})

test_as_user("a second loop has other numbers, the same seed the same again", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  set.seed(1)
  first <- list(draws(3), draws(3))
  expect_false(identical(first[[1]], first[[2]]))
  set.seed(1)
  expect_identical(list(draws(3), draws(3)), first)
})

test_as_user("the session's generator moves by one draw, and keeps its kind", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  for (kind in list(c("Mersenne-Twister", "Inversion"), c("L'Ecuyer-CMRG", "Box-Muller"))) {
    RNGkind(kind[1], kind[2])
    set.seed(7)
    sample.int(.Machine$integer.max, 1L)
    after <- generator()
    set.seed(7)
    draws(10)
    expect_identical(generator(), after)
  }
})

test_as_user("a session that has drawn nothing yet runs a loop, too", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  suppressWarnings(rm(".Random.seed", envir = globalenv()))
  expect_length(draws(2), 6L)
})

test_as_user("the kind of normal numbers is the session's", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  RNGkind(normal.kind = "Box-Muller")
  kinds <- foreach(1:2) %dopar% RNGkind()
  expect_identical(kinds[[2]], c("L'Ecuyer-CMRG", "Box-Muller", RNGkind()[3]))
})

test_as_user("a task that is tried again draws the same numbers", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  wanted <- expected(6, 3)
  killed <- tempfile("killed-")
  set.seed(3)
  values <- foreach(i = 1:6, .combine = c, .options.rustBatch = chunks_of(3)) %dopar% {
    drawn <- c(runif(1), rnorm(1), sample.int(100, 1))
    if (i == 2 && !file.exists(killed)) {
      file.create(killed)
      tools::pskill(Sys.getpid(), 9L)
    }
    drawn
  }
  expect_identical(values, wanted)
})

test_as_user("nested and filtered loops count their tasks flat", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  set.seed(5)
  flat <- foreach(k = 1:6, .combine = c) %dopar% runif(1)
  set.seed(5)
  nested <- foreach(i = 1:2, .combine = c) %:% foreach(j = 1:3, .combine = c) %dopar% runif(1)
  expect_identical(nested, flat)
})

test_as_user("the streams can be switched off", {
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  before <- options(rustBatch.seed = "none")
  at_end(bquote(options(.(before))), environment())
  set.seed(1)
  state <- generator()
  foreach(1:3) %dopar% runif(1)
  expect_identical(generator(), state)
})

test_as_user("%dorng% has the numbers that it has anywhere", {
  skip_if_not_installed("doRNG")
  suppressPackageStartupMessages(loadNamespace("rngtools"))
  at_end(bquote(restore_generator(.(generator()))), environment())
  local_cluster()
  loop <- function() {
    set.seed(11)
    values <- suppressPackageStartupMessages(
      doRNG::`%dorng%`(foreach(i = 1:5, .combine = c), rnorm(1))
    )
    as.numeric(values)
  }
  here <- loop()
  registerDoSEQ()
  expect_identical(here, loop())
})
