# Random foreach expressions, on rustBatch and on %do%. Each has a seed of its own, which a failure
# prints: `random_loop(seed)` is the expression.

# Evaluates one of its arguments.
one_of <- function(...) ...elt(sample.int(...length(), 1L))

now_and_then <- function(p) stats::runif(1) < p

# What the loops use from outside: helpers, and iterators that foreach knows nothing about.
random_room <- function() {
  room <- new.env(parent = globalenv())
  local(envir = room, {
    offset <- 7
    # A number of anything, so that bodies compute with whatever they are given.
    num <- function(x) offset + sum(utf8ToInt(paste(unlist(x), collapse = " ")))
    refuse <- function(x) stop("refused ", x)
    counted <- function(n, broken_at = Inf) {
      k <- 0
      structure(class = c("abstractiter", "iter"), list(nextElem = function() {
        k <<- k + 1
        if (k == broken_at) stop("no element ", k)
        if (k > n) stop("StopIteration", call. = FALSE)
        k
      }))
    }
    custom <- function(x) {
      structure(
        class = c("custom", "error", "condition"), list(message = paste("own", x), call = NULL)
      )
    }
    even <- function(x) if (num(x) %% 2 == 0) TRUE else FALSE
  })
  room
}

# What a variable runs over; `outer` are the variables of the loops around it.
random_values <- function(outer) {
  n <- sample(c(0:4, 7L), 1L, prob = c(1, 2, 3, 3, 3, 2))
  within <- if (length(outer)) as.name(sample(outer, 1L)) else n
  one_of(
    bquote(seq_len(.(n))), bquote(seq_len(.(n))), bquote(seq_len(.(n)) * 1.5),
    bquote(as.list(seq_len(.(n)))), bquote(letters[seq_len(.(n))]),
    bquote(seq_len(num(.(within)) %% 4)),
    bquote(stats::setNames(list(1, "b", NULL, TRUE), letters[1:4])),
    bquote(iterators::icount(.(n))), bquote(iterators::idiv(10, chunks = .(n + 1L))),
    bquote(iterators::iter(matrix(1:6, 3), by = "row")),
    bquote(iterators::iter(data.frame(x = 1:3, y = letters[1:3]), by = "row")),
    bquote(iterators::isplit(1:6, rep(seq_len(.(max(n, 1L))), length.out = 6))),
    bquote(iterators::iapply(matrix(1:4, 2), 1)),
    bquote(iterators::iter(1:5, checkFunc = even)),
    bquote(counted(.(n))),
    if (now_and_then(0.3)) bquote(counted(9, broken_at = .(n + 1L))) else quote(NULL)
  )
}

random_combine <- function(unordered) {
  if (unordered) {
    return(one_of(list(), list(.combine = quote(c)), list(.combine = "c", .maxcombine = 3)))
  }
  combine <- one_of(
    NULL, quote(c), "c", quote(list), quote(cbind), quote(rbind), "+", quote(`paste`),
    quote(function(a, b) list(a, b)), quote(function(...) list(length(list(...)), ...)),
    if (now_and_then(0.4)) {
      quote(function(a, b) if (num(b) %% 3 == 0) stop("no combine of ", num(b)) else c(a, b))
    }
  )
  c(
    list(),
    if (!is.null(combine)) list(.combine = combine),
    if (!is.null(combine) && now_and_then(0.2)) list(.init = one_of(0, quote(list()), quote(NULL))),
    if (now_and_then(0.25)) list(.multicombine = one_of(TRUE, FALSE)),
    if (now_and_then(0.25)) list(.maxcombine = one_of(2, 3, 5, 100)),
    if (now_and_then(0.1)) {
      list(.final = one_of(quote(length), quote(rev), quote(function(x) stop("no final"))))
    }
  )
}

random_foreach <- function(outer, names, unordered, pass) {
  arguments <- lapply(names, function(name) random_values(outer))
  names(arguments) <- names
  # Without a name a value only counts.
  if (now_and_then(0.1)) names(arguments)[length(arguments)] <- ""
  handling <- if (unordered) sample(c("remove", "pass"), 1L) else one_of("stop", "remove", "pass")
  as.call(c(
    quote(foreach), arguments, random_combine(unordered),
    if (unordered) list(.inorder = FALSE) else if (now_and_then(0.1)) list(.inorder = TRUE),
    if (unordered || now_and_then(pass)) list(.errorhandling = handling),
    if (now_and_then(0.05)) list(.packages = "stats"),
    if (now_and_then(0.05)) list(.export = "num")
  ))
}

# A statement before a value.
random_step <- function(x, y) {
  one_of(
    bquote(v <- .(y)), bquote(return(.(y))), bquote(cat("said", num(.(y)), "\n")),
    bquote(message("message ", num(.(x)))), bquote(warning("warned ", num(.(x)) %% 2))
  )
}

random_failure <- function(x) {
  one_of(
    bquote(stop("bad ", num(.(x)))), bquote(stop(custom(.(x)))), bquote(refuse(num(.(x)))),
    quote(missing_name), bquote(missing_function(.(x))), bquote(.(x) + "a"), quote(log(-1)),
    bquote(list(.(x))[[3]]), quote(simpleError("a value that is an error"))
  )
}

# A body that computes, signals and fails, with the variables of the loop.
random_body <- function(variables, depth = 3L) {
  if (!length(variables)) variables <- "offset"
  x <- as.name(sample(variables, 1L))
  if (depth == 0L || now_and_then(0.2)) {
    return(one_of(x, x, 1, bquote(num(.(x))), NULL, "text"))
  }
  y <- random_body(variables, depth - 1L)
  z <- random_body(variables, depth - 1L)
  now <- bquote(num(.(x)) %% .(sample(2:6, 1L)) == 0)
  failure <- random_failure(x)
  one_of(
    bquote(c(.(y), .(z))), bquote(list(.(y), .(z))), bquote(num(.(y)) + num(.(z))),
    bquote(if (.(now)) .(y) else .(z)), bquote(if (.(now)) .(failure) else .(y)),
    bquote(if (.(now)) .(failure) else .(y)), bquote(if (.(now)) .(failure) else .(y)),
    call("{", random_step(x, y), z), call("{", random_step(x, y), z),
    call("{", random_step(x, y), z), bquote(suppressWarnings(as.numeric(.(y)))),
    bquote(tryCatch(.(failure), error = function(e) .(y))),
    bquote(tryCatch(.(random_step(x, y)), warning = function(w) .(y), finally = .(z))),
    bquote(vapply(1:3, function(i) num(i) + num(.(x)), 0)), bquote(structure(.(y), mark = .(x))),
    # The compiler makes other calls of what stands in local(), and %do% compiles always.
    bquote(local(.(call("{", bquote(offset <- offset + num(.(x))), quote(offset))))),
    bquote(foreach(q = 1:2, .combine = c) %do% num(list(q, .(x)))),
    bquote(foreach(q = 1:2) %dopar% .(y)), quote(foreach::times(2) %do% offset)
  )
}

# The expression of a seed, and whether the order of its value is left open.
random_loop <- function(seed) {
  set.seed(seed, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
  unordered <- now_and_then(0.15)
  depth <- sample(3L, 1L, prob = c(6, 3, 1))
  variables <- split(letters[9:14], rep(1:3, each = 2L))[seq_len(depth)]
  variables <- lapply(variables, function(names) names[seq_len(1L + now_and_then(0.25))])
  loops <- lapply(seq_len(depth), function(k) {
    random_foreach(
      as.character(unlist(variables[seq_len(k - 1L)])), variables[[k]], unordered, 0.5
    )
  })
  named <- setdiff(unlist(lapply(loops, function(loop) names(loop))), "")
  known <- intersect(unlist(variables), named)
  if (depth == 1L && now_and_then(0.05)) loops <- list(bquote(times(.(sample(0:5, 1L)))))
  if (length(known) && now_and_then(0.2)) {
    x <- as.name(known[1L])
    condition <- one_of(
      bquote(num(.(x)) %% 2 == 0), bquote(even(.(x))), TRUE, FALSE,
      if (now_and_then(0.3)) quote(stop("no condition")) else TRUE
    )
    loops <- c(loops, list(bquote(when(.(condition)))))
  }
  head <- Reduce(function(a, b) call("%:%", a, b), loops)
  if (identical(loops[[1L]][[1L]], quote(times))) known <- character()
  list(loop = call("%dopar%", head, random_body(known)), ordered = !unordered)
}

# Only what can be compared: where a loop ends in an error although order is left open, which of
# several errors that is, is open too.
compare_random <- function(seed, backends, room) {
  random <- random_loop(seed)
  expected <- expected_of(random$loop, room)
  name <- sample(names(backends), 1L)
  found <- with_backend(backends[[name]], random$loop, room)
  different <- difference(found, expected, random$ordered)
  if (!random$ordered && !is.null(expected$error) && !is.null(found$error)) different <- NULL
  list(
    ended = names(expected)[1L], deliberate = expected$deliberate,
    report = if (length(different)) {
      paste(
        c("random_loop(", seed, ") on ", name, ": ", toString(different), "\n",
          paste(deparse(random$loop), "\n"), "found\n",
          paste(utils::capture.output(utils::str(found)), "\n"), "expected\n",
          paste(utils::capture.output(utils::str(expected)), "\n")),
        collapse = ""
      )
    }
  )
}

test_that("2,000 random expressions give what %do% gives", {
  backends <- parity_backends()
  room <- random_room()
  before <- get0(".Random.seed", globalenv())
  kinds <- RNGkind()
  at_end(quote(do.call(RNGkind, as.list(kinds))), environment())
  first <- as.integer(Sys.getenv("RUSTBATCH_PARITY_SEED", "1"))
  n <- as.integer(Sys.getenv("RUSTBATCH_PARITY_N", "2000"))
  setTimeLimit(elapsed = 600, transient = TRUE)
  at_end(quote(setTimeLimit()), environment())
  outcomes <- lapply(first + seq_len(n) - 1L, compare_random, backends, room)
  reports <- unlist(lapply(outcomes, `[[`, "report"))
  expect(length(reports) == 0L, paste(
    c(paste(length(reports), "of", n, "differ"), utils::head(reports, 3L)), collapse = "\n\n"
  ))
  # The generator is worth something only while it reaches values, errors and both habits of %do%.
  ended <- table(vapply(outcomes, `[[`, "", "ended"))
  deliberate <- sum(vapply(outcomes, `[[`, NA, "deliberate"))
  expect_gt(ended[["value"]], n / 3)
  expect_gt(ended[["error"]], n / 6)
  expect_gt(deliberate, n / 100)
})
