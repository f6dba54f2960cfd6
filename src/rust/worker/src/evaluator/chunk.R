# A chunk: its tasks are run one after the other.

# Where in the chunk we are; what has been signalled and what failed so far.
at <- marks <- 0L
notes <- failures <- NULL
session <- globalenv()
now <- function() unclass(Sys.time())

say_mark <- function() {
  marks <<- marks + 1L
  open_pipes()
  text <- charToRaw(sprintf("\001%s:%d.%d\002", mark, at, marks))
  for (stream in list(out, err)) {
    writeBin(text, stream)
    flush(stream)
  }
}
note <- function(condition, restart) {
  # What was printed before the condition stays before it.
  say_mark()
  notes[[length(notes) + 1L]] <<- list(task = at, mark = marks, condition = condition)
  invokeRestart(restart)
}
# Tells the client at once; what can't be sent is not worth an error.
tell <- function(condition) try(send("signal", pack(condition)), silent = TRUE)
fail <- function(condition) {
  calls <- sys.calls()
  # Without the evaluator's own frames around the task, and without this handler's.
  inner <- Position(function(call) identical(call[[1L]], quote(evaluate)), calls, right = TRUE)
  calls <- calls[seq_along(calls) > inner & seq_along(calls) < length(calls) - 1L]
  calls <- Filter(function(call) !identical(call, quote(eval(xpr, envir = envir))), calls)
  shown <- utils::tail(calls, 30L)
  failures[[length(failures) + 1L]] <<- list(
    task = at,
    calls = vapply(shown, brief, ""),
    arguments = vapply(
      mget(context$names, envir = context$exports, ifnotfound = list(NULL)), brief, ""
    )
  )
}
brief <- function(value) {
  text <- paste(deparse(value, width.cutoff = 60L, nlines = 1L)[1L])
  if (nchar(text) > 60L) paste0(substr(text, 1L, 57L), "...") else text
}
warned <- function(w) {
  # From 2 on, R makes an error of it; below 0 nobody wants to know.
  if (getOption("warn") < 0) invokeRestart("muffleWarning")
  if (getOption("warn") < 2) note(w, "muffleWarning")
}
said <- function(m) {
  if (!inherits(m, "immediateCondition")) note(m, "muffleMessage")
  tell(m)
  invokeRestart("muffleMessage")
}
# Named as in foreach's own loop, because the call of an error names it.
evaluate <- function(xpr, envir) eval(xpr, envir = envir)

# The tasks of a chunk, under handlers that are set once: setting them costs as much as a short
# task. An error ends the inner loop, and the outer one goes on with the next task.
run_tasks <- function(chunk) {
  arguments <- chunk$arguments
  offset <- chunk$offset
  n <- chunk$n
  seeds <- chunk$seeds
  values <- vector("list", n)
  cold <- state == "cold"
  at <<- marks <<- 0L
  by_name <- is.null(attr(arguments, "tasks"))
  exports <- context$exports
  seed <- context$seed
  context$bound <<- NULL
  give <- function(task, slice) {
    if (by_name) {
      for (name in names(arguments)) exports[[name]] <- arguments[[name]][[slice]]
    } else {
      for (name in names(arguments[[slice]])) exports[[name]] <- arguments[[slice]][[name]]
    }
    if (!is.null(seeds)) session[[".Random.seed"]] <- c(seed, seeds[, task])
  }
  started <- now()
  step <- function() {
    at <<- at + 1L
    k <- at
    give(k, offset + k)
    if (is.null(context$bound)) context$bound <<- names(exports)
    if (cold) .Internal(enableJIT(jit))
    value <- evaluate(context$expr, exports)
    if (cold) .Internal(enableJIT(0L))
    if (!is.null(value)) values[[k]] <<- value
    ended <- now()
    after_task(ended - started > 0.001)
    started <<- ended
  }
  go_on <- function() while (at < n) step()
  failed <- function(e) {
    values[[at]] <<- e
    after_task(TRUE)
    started <<- now()
  }
  listened <- function() {
    withCallingHandlers(
      go_on(),
      error = fail, warning = warned, message = said, immediateCondition = tell
    )
  }
  while (at < n) tryCatch(listened(), error = failed)
  values
}
# `slow` tasks can bear a look at the whole session.
after_task <- function(slow) {
  # A forked child of the task goes no further: what comes next is its parent's.
  if (Sys.getpid() != pid) leave()
  tidy()
  same <- identical(names(context$exports), context$bound) &&
    (!length(context$kept) || identical(mget(context$kept, context$exports), context$before))
  if (!same) {
    context$before <<- restore(context$exports, context$before)
    context$kept <<- names(context$before)
    context$bound <<- NULL
  }
  if (slow || context$careful) {
    say_mark()
    tidy_session()
  }
}
# Reads a chunk: where in its arguments it begins, how many tasks it has, their seeds, the arguments.
read_chunk <- function(size) {
  numbers <- readBin(requests, "integer", 3L)
  n <- numbers[2L]
  seeds <- if (numbers[3L] == 1L) matrix(readBin(requests, "integer", 6L * n), nrow = 6L)
  arguments <- value_of(size - 12 - 24 * n * numbers[3L])
  list(offset = numbers[1L], n = n, seeds = seeds, arguments = arguments)
}
run_chunk <- function(chunk) {
  n <- chunk$n
  chunk$arguments <- chunk$arguments()
  count_tasks(n)
  # A short loop does not pay for compiling.
  context$chunks <<- context$chunks + 1L
  if (context$chunks == 2L || n >= 50L && context$chunks < 2L) {
    context$expr <<- compiler::compile(
      context$expr, context$exports, options = list(suppressAll = TRUE)
    )
    context$chunks <<- 2L
  }
  notes <<- failures <<- NULL
  if (state == "lukewarm") .Internal(enableJIT(jit))
  values <- tryCatch(
    allowInterrupts(run_tasks(chunk)),
    interrupt = function(i) NULL
  )
  if (state != "compiled") .Internal(enableJIT(0L))
  if (exists(".Random.seed", session, inherits = FALSE)) discard(".Random.seed", session)
  tidy()
  tidy_session()
  if (is.null(values)) return(send("interrupted"))
  answer <- list(values = values, notes = notes, failures = failures)
  bytes <- tryCatch(pack(answer), error = function(e) {
    # What cannot be serialized is an error of its task, not of the evaluator.
    answer$values <- lapply(values, function(value) {
      tryCatch({ pack(value); value }, error = function(e) e)
    })
    pack(answer)
  })
  if (length(bytes) <= long) return(send("done", bytes))
  bytes <- NULL
  send_long("done", answer)
}
