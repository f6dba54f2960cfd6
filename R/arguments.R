# The arguments of a loop's tasks, taken from foreach's iterator chunk by chunk, so that an iterator
# over more than fits in memory needs no more than is under way.

# How many tasks the iterator has, where that can be known without asking it for them all; else Inf.
# A filter may let fewer through: this is for sizing chunks, not for counting.
task_count <- function(it) {
  if (!inherits(it, "iforeach")) {
    return(Inf)
  }
  known <- vapply(it$iargs, function(i) inherits(i, "containeriter") && !isTRUE(i$recycle), NA)
  if (!all(known)) {
    return(Inf)
  }
  min(vapply(it$iargs, function(i) as.numeric(i$length), 0))
}

# The next `n` tasks, fewer at the end. An error of the iterator is another end: it is to be raised
# when the tasks before it are done, as %do% would have met it.
take_tasks <- function(it, n, expr) {
  tasks <- vector("list", n)
  taken <- 0L
  error <- NULL
  tryCatch(
    while (taken < n) {
      tasks[[taken + 1L]] <- nextElem(it)
      taken <- taken + 1L
    },
    error = function(e) {
      if (!identical(conditionMessage(e), "StopIteration")) {
        error <<- loop_error(e, expr)
      }
    }
  )
  list(tasks = structure(tasks[seq_len(taken)], tasks = TRUE), error = error)
}
