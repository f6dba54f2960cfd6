# What the tasks printed and signalled, told in the order of the tasks: output as output, messages
# as messages, warnings as warnings at the end of the loop, equal ones once.
make_relay <- function() {
  warnings <- list()

  tell <- function(piece) {
    notes <- piece$notes
    output <- piece$output
    if (!length(notes) && !length(output)) {
      return()
    }
    marks <- c(
      vapply(output, function(piece) piece$mark, 0),
      vapply(notes, function(note) note$mark + 0.5, 0)
    )
    for (item in c(output, notes)[order(marks)]) {
      if (is.null(item$condition)) tell_output(item) else tell_condition(item, piece$first)
    }
  }
  tell_condition <- function(note, first) {
    condition <- note$condition
    if (inherits(condition, "warning")) {
      call <- deparse(conditionCall(condition))[1]
      text <- paste(c(class(condition), conditionMessage(condition), call), collapse = " ")
      tasks <- union(warnings[[text]]$tasks, first + note$task)
      warnings[[text]] <<- list(condition = condition, tasks = tasks)
    } else {
      message(condition)
    }
  }
  finish <- function() {
    told <- warnings
    warnings <<- list()
    for (one in told) {
      count <- length(one$tasks)
      if (count > 1L) {
        one$condition$message <- sprintf("%s (in %d tasks)", one$condition$message, count)
      }
      warning(one$condition)
    }
  }
  list(tell = tell, finish = finish)
}

# A condition of class immediateCondition does not wait for its task's turn.
tell_now <- function(condition) {
  if (inherits(condition, "message")) {
    message(condition)
  } else if (inherits(condition, "warning")) {
    warning(condition)
  } else {
    signalCondition(condition)
  }
}

tell_output <- function(piece) {
  sink <- if (piece$error) stderr() else stdout()
  cat(piece$text, file = sink)
  if (piece$cut > 0) {
    cat(sprintf("\n[%.0f more bytes of task output were cut]\n", piece$cut), file = sink)
  }
}
