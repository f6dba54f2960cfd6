# Sends a loop's chunks, receives their outcomes, and feeds foreach's accumulator.

# Runs the loop to its end, or to the error that ends it. Returns what is known of the task that
# failed, if that is what ended it.
run_loop <- function(cluster, job, obj, expr, it, calling) {
  feeder <- make_feeder(obj, it, expr)
  on.exit(feeder$finish())
  count <- task_count(it)
  sent <- 0
  exhausted <- FALSE
  repeat {
    while (!exhausted && (room <- job_room(job$pointer, count - sent)) > 0L) {
      taken <- take_tasks(it, room, expr)
      exhausted <- taken$n < room
      if (taken$n > 0L) {
        job_push(job$pointer, sent + 1, taken$n, taken$tasks, calling)
        sent <- sent + taken$n
      }
    }
    if (exhausted && feeder$received() == sent || feeder$failed()) break
    for (event in job_wait(cluster$pointer, job$pointer)) {
      if (event$kind == "need") supply_export(cluster, job, event) else feeder$take(event)
    }
  }
  if (exhausted && !is.null(taken$error) && !feeder$failed()) stop(taken$error)
  feeder$fill()
  feeder$failure()
}

# Holds outcomes back until it is their tasks' turn. With .inorder = FALSE they are combined as they
# come, except under .errorhandling = "stop", where the error of the lowest task is to be raised.
make_feeder <- function(obj, it, expr) {
  accumulator <- makeAccum(it)
  stops <- identical(obj$errorHandling, "stop")
  on_arrival <- !it_in_order(it) && !stops
  waiting <- new.env(parent = emptyenv())
  relay <- make_relay()
  failures <- list()
  errors <- list()
  received <- 0
  turn <- 1

  fill <- make_filler(it, accumulator)
  # After an error that may end the loop, nothing is combined that %do% would not combine: the tasks
  # are fed one by one.
  combine <- function(piece) {
    if (fill$take(piece)) {
      return()
    }
    if (stops) {
      bad <- vapply(piece$values, inherits, NA, "error")
      errors[key(piece$tasks[bad])] <<- piece$values[bad]
    }
    runs <- if (length(errors)) seq_along(piece$tasks) else list(seq_along(piece$tasks))
    for (run in runs) {
      if (failed()) break
      tryCatch(
        accumulator(piece$values[run], as.integer(piece$tasks[run])),
        # The error of a task goes before one that may follow from it.
        error = function(e) if (!failed()) stop(loop_error(e, expr))
      )
    }
  }
  # Feeds whatever has its turn now.
  advance <- function() {
    while (!failed() && !is.null(piece <- waiting[[key(turn)]])) {
      rm(list = key(turn), envir = waiting)
      turn <<- turn + length(piece$tasks)
      relay$tell(piece)
      if (!on_arrival) combine(piece)
    }
  }
  take <- function(event) {
    if (event$kind == "signal") {
      return(tell_now(event$report[[1]]))
    }
    if (event$kind == "notice") {
      return(message(event$report))
    }
    for (piece in pieces(event)) {
      received <<- received + length(piece$tasks)
      failures <<- c(failures, piece$failures)
      if (on_arrival) combine(piece)
      assign(key(piece$tasks[1]), piece, envir = waiting)
    }
    advance()
  }
  failed <- function() stops && !is.null(getErrorValue(it))
  failure <- function() {
    task <- names(Filter(function(error) identical(error, getErrorValue(it)), errors))[1]
    c(list(task = as.numeric(task)), failures[[task]])
  }
  list(
    take = take, failed = failed, fill = fill$finish, finish = function() relay$finish(),
    received = function() received, failure = function() if (failed()) failure()
  )
}

# The default result is a list with an element for each task, which foreach's accumulator builds at
# 40 microseconds a task. Here it is filled directly, until a value is an error: from then on, and
# for every other .combine, the accumulator has it all.
make_filler <- function(it, accumulator) {
  filling <- identical(class(it)[1], "iforeach") && identical(it$combineInfo$fun, default_combine)
  pieces <- list()
  # Takes a piece, or says that the accumulator is to have it.
  take <- function(piece) {
    if (!filling) {
      return(FALSE)
    }
    if (any(vapply(piece$values, inherits, NA, "error"))) {
      give_up()
      return(FALSE)
    }
    pieces[[length(pieces) + 1L]] <<- piece[c("tasks", "values")]
    TRUE
  }
  give_up <- function() {
    filling <<- FALSE
    for (piece in pieces) accumulator(piece$values, as.integer(piece$tasks))
    pieces <<- list()
  }
  finish <- function() {
    if (!filling || !length(pieces)) {
      return()
    }
    values <- do.call(c, lapply(pieces, `[[`, "values"))
    tasks <- do.call(c, lapply(pieces, `[[`, "tasks"))
    it$state$accum <- if (is.unsorted(tasks)) values[order(tasks)] else values
    it$state$numResults <- it$state$numValues
  }
  list(take = take, finish = finish)
}

# What foreach() uses when it is given no .combine.
default_combine <- foreach(i = 1)$combineInfo$fun

key <- function(task) sprintf("%.0f", task)

it_in_order <- function(it) {
  info <- if (inherits(it, "iforeach")) it$combineInfo else it$ie1$combineInfo
  is.null(info) || isTRUE(info$in.order)
}

# An outcome as runs of consecutive tasks: one, unless some of its tasks came before.
pieces <- function(event) {
  answer <- event_values(event)
  answer$failures <- failure_details(event, answer$failures)
  tasks <- event$tasks
  if (length(tasks) == length(answer$values)) {
    return(list(c(answer, list(tasks = tasks, output = event$output, first = event$first))))
  }
  runs <- split(tasks, cumsum(c(1, diff(tasks) != 1)))
  lapply(runs, function(run) {
    inside <- function(note) (event$first + note$task - 1) %in% run
    list(
      tasks = run,
      values = answer$values[run - event$first + 1],
      notes = Filter(inside, answer$notes),
      failures = answer$failures[names(answer$failures) %in% key(run)],
      output = Filter(inside, event$output),
      first = event$first
    )
  })
}

# What R answered: a list of values, notes and failures.
event_values <- function(event) {
  switch(event$kind,
    values = event$report[[1]],
    refused = refuse(event),
    crashed = {
      crash <- crash_error(event)
      list(values = list(crash))
    },
    # No task can run there, and each is told so.
    uninstalled = list(values = rep(list(uninstalled_error(event)), length(event$tasks))),
    lost = list(values = list(lost_error(event))),
    too_large = list(values = list(too_large_error(event))),
    # The cause is the worker's, so no task is told apart.
    given_up = list(values = rep(list(given_up_error(event)), length(event$tasks)))
  )
}

# What is known of failed tasks beside their conditions, by their number.
failure_details <- function(event, failures) {
  details <- lapply(failures, function(failure) {
    c(failure[c("calls", "arguments")], event[c("worker", "attempt")])
  })
  names(details) <- key(event$first + vapply(failures, function(one) one$task, 0L) - 1)
  details
}

# A worker could not load the context: no task was spent, and none can run there.
refuse <- function(event) {
  error <- event$report[[1]]
  abort(
    "context", paste0(
      "The worker ", event$worker, " can't prepare the loop\n",
      "* A package that the tasks need must be installed where they run."
    ),
    list(worker = event$worker),
    parent = error
  )
}

# A package that the loop asks for, and that its worker could not install.
uninstalled_error <- function(event) {
  found <- event$report
  what <- if (nzchar(found$package)) {
    paste0("the worker can't install the package `", found$package, "`: ", found$reason)
  } else {
    paste0("the worker ", found$reason)
  }
  lines <- if (nzchar(found$log)) paste0("\nIts last lines:\n", found$log)
  log <- strsplit(found$log, "\n", fixed = TRUE)[[1]]
  fields <- list(package = found$package, found = found$reason, log = log, worker = event$worker)
  failure_condition("package", paste0(what, lines), fields)
}

# A task whose host was lost each time that it ran alone.
lost_error <- function(event) {
  why <- event$report$why
  failure_condition(
    "lost", paste0(
      "the task's host was lost ", event$report$times, " times",
      if (nzchar(why)) paste0("; the last time: ", why), "\n",
      "* Does the task need more memory than its host has?"
    ),
    c(event["worker"], list(why = why))
  )
}

# A task whose value Redis can't hold, whatever room is made.
too_large_error <- function(event) {
  sizes <- event$report
  failure_condition(
    "too_large", paste0(
      "the task's value is ", gib(sizes$size), " and too large for Redis, whose `maxmemory` is ",
      gib(sizes$limit), "\n",
      "* Raise its `maxmemory`, or let the task save its value and return the file's name."
    ),
    c(sizes, event[c("worker", "attempt")])
  )
}

# A task that its worker could not run, or whose end it could not tell.
given_up_error <- function(event) {
  failure_condition(
    "given_up", paste0(
      "the worker gave the task up: ", event$report, "\n",
      "* Is its machine short of disk, memory or open files? Its log may say more."
    ),
    c(list(why = event$report), event[c("worker", "attempt")])
  )
}

# A task whose R process died each time that it ran alone.
crash_error <- function(event) {
  cause <- event$report
  cause$limit[is.nan(cause$limit)] <- NA
  cause$peak[is.nan(cause$peak)] <- NA
  lines <- if (nzchar(cause$log)) paste0("\nIts last lines on stderr:\n", cause$log)
  fields <- cause[c("signal", "signalName", "exit", "oom", "limit", "peak")]
  fields$log <- strsplit(cause$log, "\n", fixed = TRUE)[[1]]
  failure_condition(
    "crash", paste0(crash_message(cause), lines), c(fields, event[c("worker", "attempt")])
  )
}

# How a task ended its R process, and what helps.
crash_message <- function(cause) {
  killed <- paste0("the task ended its R process ", cause$times, " times: ", cause$message)
  if (cause$oom) {
    if (is.na(cause$limit)) {
      return(paste0(
        killed, ", for the machine has no more\n",
        "* Run fewer R processes at a time, or let each task use less."
      ))
    }
    peak <- if (!is.na(cause$peak)) paste0(" (peak ", gib(cause$peak), ")")
    return(paste0(
      "the task needed more than the limit of ", gib(cause$limit), peak,
      ", and was killed ", cause$times, " times\n",
      "* All R processes of the worker share the limit: run fewer of them, raise it, or let each ",
      "task use less."
    ))
  }
  paste0(killed, crash_advice(cause))
}

crash_advice <- function(cause) {
  way <- if (identical(cause$exit, 0L)) {
    "Does the task call quit()?"
  } else if (!is.na(cause$exit)) {
    sprintf("Does the task, or a package that it uses, call quit(status = %d)?", cause$exit)
  } else if (cause$signalName %in% c("SIGSEGV", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP")) {
    "Compiled code failed, most often a package's: run the task by itself in a fresh R session."
  } else if (identical(cause$signalName, "SIGKILL")) {
    "Somebody killed it, or the system did: its log (`dmesg`) may say why."
  } else if (!is.na(cause$signal)) {
    "Does the task send this signal to itself, or something else on its machine?"
  }
  if (!is.null(way)) paste0("\n* ", way)
}

# A number of bytes in words: "1.98 GiB".
gib <- function(bytes) {
  if (bytes < 2^30) sprintf("%.3g MiB", bytes / 2^20) else sprintf("%.3g GiB", bytes / 2^30)
}
