# Sends a loop's chunks, receives their outcomes, and feeds foreach's accumulator.

# Runs the loop to its end, or to the error that ends it. Returns what is known of failed tasks, by
# their number.
run_loop <- function(cluster, job, obj, expr, it, calling) {
  feeder <- make_feeder(obj, it)
  on.exit(feeder$finish())
  count <- task_count(it)
  sent <- 0
  exhausted <- FALSE
  repeat {
    while (!exhausted && (room <- job_room(job, count - sent)) > 0L) {
      tasks <- take_tasks(it, room, expr)
      exhausted <- length(tasks) < room
      if (length(tasks)) {
        job_push(job, sent + 1, length(tasks), tasks, calling)
        sent <- sent + length(tasks)
      }
    }
    if (exhausted && feeder$received() == sent || feeder$failed()) break
    for (event in job_wait(cluster$pointer, job)) feeder$take(event)
  }
  feeder$failures()
}

# Holds outcomes back until it is their tasks' turn. With .inorder = FALSE they are combined as they
# come, except under .errorhandling = "stop", where the error of the lowest task is to be raised.
make_feeder <- function(obj, it) {
  accumulator <- makeAccum(it)
  stops <- identical(obj$errorHandling, "stop")
  on_arrival <- !it_in_order(it) && !stops
  waiting <- new.env(parent = emptyenv())
  relay <- make_relay()
  failures <- list()
  received <- 0
  turn <- 1

  combine <- function(piece) {
    accumulator(piece$values, as.integer(piece$tasks))
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
    for (piece in pieces(event)) {
      received <<- received + length(piece$tasks)
      failures <<- c(failures, piece$failures)
      if (on_arrival) combine(piece)
      assign(key(piece$tasks[1]), piece, envir = waiting)
    }
    advance()
  }
  failed <- function() stops && !is.null(getErrorValue(it))
  list(
    take = take, failed = failed, finish = function() relay$finish(),
    received = function() received, failures = function() failures
  )
}

key <- function(task) sprintf("%.0f", task)

it_in_order <- function(it) {
  info <- if (inherits(it, "iforeach")) it$combineInfo else it$ie1$combineInfo
  is.null(info) || isTRUE(info$in.order)
}

# An outcome as runs of consecutive tasks: one, unless some of its tasks came before.
pieces <- function(event) {
  values <- event_values(event)
  tasks <- event$tasks
  runs <- split(seq_along(tasks), cumsum(c(1, diff(tasks) != 1)))
  lapply(runs, function(run) {
    these <- tasks[run]
    inside <- function(note) (event$first + note$task - 1) %in% these
    list(
      tasks = these,
      values = values$values[these - event$first + 1],
      notes = Filter(inside, values$notes),
      output = Filter(inside, event$output),
      first = event$first,
      failures = failure_details(event, values$failures, these)
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
    }
  )
}

failure_details <- function(event, failures, tasks) {
  details <- lapply(failures, function(failure) {
    list(calls = failure$calls, worker = event$worker, attempt = event$attempt)
  })
  numbers <- event$first + vapply(failures, function(failure) failure$task, 0L) - 1
  names(details) <- vapply(numbers, key, "")
  details[numbers %in% tasks]
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

# A task whose R process died each time that it ran alone.
crash_error <- function(event) {
  cause <- event$report
  lines <- if (nzchar(cause$stderr)) {
    paste0("\nIts last lines on stderr:\n", cause$stderr)
  }
  failure_condition(
    "crash", paste0("the R process of the task was ", verb(cause$message), ", 3 times", lines),
    list(
      worker = event$worker, signal = cause$signal, exit = cause$exit, stderr = cause$stderr
    )
  )
}

verb <- function(words) sub("^exited", "gone: it exited", words)
