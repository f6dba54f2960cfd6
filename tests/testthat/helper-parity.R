# Parity with %do%: a loop gives what foreach's own sequential backend gives, values and conditions.

# What %do% would be without two of its habits, which rustBatch does not share: it prints an error
# of .combine and goes on, and after a task has failed with .errorhandling = "stop" it runs and
# combines all the others first. Iterators and accumulator are foreach's.
strict_do <- function(obj, expr, envir, data) {
  # A loop within a task is for foreach.
  registerDoSEQ()
  on.exit(setDoPar(strict_do))
  envir <- new.env(parent = envir)
  it <- iterators::iter(obj)
  accumulator <- foreach::makeAccum(it)
  stops <- identical(obj$errorHandling, "stop")
  failed <- function() stops && !is.null(foreach::getErrorValue(it))
  guard <- function(code) {
    tryCatch(code, error = function(e) {
      if (!failed() && conditionMessage(e) != "StopIteration") {
        stop(simpleError(conditionMessage(e), expr))
      }
    })
  }
  xpr <- compiler::compile(expr, envir, options = list(suppressAll = TRUE))
  task <- 0
  repeat {
    arguments <- guard(iterators::nextElem(it))
    if (failed() || is.null(arguments)) break
    task <- task + 1
    list2env(arguments, envir)
    result <- tryCatch(eval(xpr, envir = envir), error = function(e) e)
    guard(accumulator(list(result), task))
    if (failed()) break
  }
  if (failed()) {
    message <- conditionMessage(foreach::getErrorValue(it))
    stop(simpleError(sprintf("task %d failed - \"%s\"", foreach::getErrorIndex(it), message), expr))
  }
  foreach::getResult(it)
}

# All that there is to see of a loop: its value or its error, what it signalled and printed.
observe <- function(loop, room) {
  messages <- warnings <- character()
  note <- function(condition) {
    paste(conditionMessage(condition), "in", deparse(conditionCall(condition))[1L])
  }
  output <- utils::capture.output(
    result <- tryCatch(
      withCallingHandlers(
        list(value = eval(loop, room)),
        message = function(m) {
          messages <<- c(messages, note(m))
          invokeRestart("muffleMessage")
        },
        warning = function(w) {
          warnings <<- c(warnings, note(w))
          invokeRestart("muffleWarning")
        }
      ),
      error = function(e) list(error = e)
    )
  )
  # Equal warnings are told once, with their number.
  warnings <- unique(sub(" [(]in [0-9]+ tasks[)]", "", warnings))
  c(result, list(messages = messages, warnings = warnings, output = output))
}

with_backend <- function(fun, loop, room) {
  setDoPar(fun)
  on.exit(registerDoSEQ())
  observe(loop, room)
}

# The backend of a cluster, with all loops in chunks of this size, NULL for their own.
on_cluster <- function(cluster, size = NULL) {
  function(obj, expr, envir, data) {
    if (!is.null(size)) obj$options$rustBatch$chunkSize <- size
    dopar(obj, expr, envir, cluster)
  }
}

# Clusters of 1 and 2 slots, each with single tasks, with chunks that do not fit, and left alone.
parity_backends <- function(frame = parent.frame()) {
  one <- local_cluster(1, frame = frame)
  two <- local_cluster(2, frame = frame)
  list(
    "1 slot" = on_cluster(one), "1 slot, chunks of 1" = on_cluster(one, 1),
    "1 slot, chunks of 3" = on_cluster(one, 3), "2 slots" = on_cluster(two),
    "2 slots, chunks of 1" = on_cluster(two, 1), "2 slots, chunks of 3" = on_cluster(two, 3)
  )
}

# What %do% gives; where it has one of the two habits, what it would give without.
expected_of <- function(loop, room) {
  loose <- with_backend(asNamespace("foreach")$doSEQ, loop, room)
  strict <- with_backend(strict_do, loop, room)
  swallowed <- any(startsWith(loose$output, "error calling combine function:"))
  later <- startsWith(c(strict$error$message, "")[1L], "task ") && !is.null(loose$error)
  if (!swallowed && !later && length(difference(strict, loose))) {
    stop("strict_do() is not %do%: ", toString(difference(strict, loose)), "\n", show_loop(loop))
  }
  c(strict, list(deliberate = swallowed || later && !same_error(strict$error, loose$error)))
}

# In what two outcomes differ. Where a loop ended with an error, more tasks than the ones before it
# may have run, and have been heard.
difference <- function(found, expected, ordered = TRUE) {
  c(
    if (!identical(names(found)[1L], names(expected)[1L])) {
      paste("a", names(found)[1L], "instead of a", names(expected)[1L])
    },
    if (!same_value(found$value, expected$value, ordered)) "values",
    if (!same_error(found$error, expected$error)) "errors",
    unlist(lapply(c("messages", "warnings", "output"), function(kind) {
      here <- found[[kind]]
      there <- expected[[kind]]
      # Those of tasks come when the loop ends, those of .combine at once.
      if (kind == "warnings") here <- c(intersect(there, here), setdiff(here, there))
      if (!is.null(expected$error)) here <- utils::head(here, length(there))
      if (!identical(here, there)) kind
    }))
  )
}

show_loop <- function(loop) paste(deparse(loop), collapse = "\n")

same_value <- function(a, b, ordered) {
  a <- plain(a)
  b <- plain(b)
  if (ordered) identical(a, b) else identical(unordered(a), unordered(b))
}

# Without the environments that functions and formulas were made in, and without source references,
# which hold some too.
plain <- function(x) {
  if (is.function(x)) {
    list(formals(x), plain(body(x)))
  } else if (inherits(x, "formula")) {
    plain(as.call(as.list(x)))
  } else if (is.call(x)) {
    utils::removeSource(x)
  } else if (is.list(x)) {
    attributes <- attributes(x)
    x <- lapply(x, plain)
    attributes(x) <- attributes
    x
  } else {
    x
  }
}

# Whatever the order in which it was combined.
unordered <- function(x) {
  if (inherits(x, "condition") || is.language(x) || !is.list(x) && length(x) < 2L) {
    return(x)
  }
  parts <- lapply(x, unordered)
  parts[order(vapply(parts, function(part) paste(deparse(part), collapse = ""), ""))]
}

same_error <- function(found, expected) {
  all(class(expected) %in% class(found)) &&
    identical(message_of(found), message_of(expected)) &&
    identical(plain(found$call), plain(expected$call))
}

message_of <- function(error) if (!is.null(error)) conditionMessage(error)

# `loop` uses %dopar%, and stands in an environment above which is only the global one.
expect_parity <- function(loop, backends, room = new.env(parent = globalenv()), ordered = TRUE) {
  expected <- expected_of(loop, room)
  for (name in names(backends)) {
    found <- with_backend(backends[[name]], loop, room)
    different <- difference(found, expected, ordered)
    testthat::expect(length(different) == 0L, paste(
      c("On ", name, ", ", toString(different), " differ:\n", show_loop(loop), "\nfound\n",
        utils::capture.output(utils::str(found)), "\nexpected\n",
        utils::capture.output(utils::str(expected))),
      collapse = "\n"
    ))
  }
  invisible(expected)
}

# Iterators that foreach knows nothing about: one that fails, one without a length.
broken_at <- function(k, text = "no element") {
  at <- 0
  structure(class = c("abstractiter", "iter"), list(nextElem = function() {
    at <<- at + 1
    if (at == k) stop(text)
    at
  }))
}

countdown <- function(n) {
  structure(class = c("abstractiter", "iter"), list(nextElem = function() {
    n <<- n - 1
    if (n < 0) stop("StopIteration")
    n
  }))
}

# Loops that need nothing from outside but the two functions above.
expect_all <- function(loops, ordered = TRUE, backends = parity_backends(parent.frame())) {
  room <- list2env(
    list(broken_at = broken_at, countdown = countdown), new.env(parent = globalenv())
  )
  for (name in ls(room)) environment(room[[name]]) <- room
  for (loop in loops) expect_parity(loop, backends, room, ordered)
  backends
}
