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

# The next `n` tasks, fewer at the end: their arguments, how many they are, and an error of the
# iterator. That is another end, to be raised when the tasks before it are done, as %do% would have
# met it.
take_tasks <- function(it, n, expr) {
  if (is_sliceable(it)) take_slices(it, n, expr) else take_elements(it, n, expr)
}

# foreach's iterator takes 25 microseconds for each task. Where it only walks along plain vectors,
# a chunk carries a slice of each, and the iterator is told how far it has come.
is_sliceable <- function(it) {
  identical(class(it)[1], "iforeach") && all(vapply(it$iargs, walks_plainly, NA))
}

walks_plainly <- function(iterator) {
  x <- iterator$state$obj
  inherits(iterator, "containeriter") && !isTRUE(iterator$recycle) &&
    isTRUE(body(iterator$checkFunc)) && is.vector(x) && !is.object(x)
}

take_slices <- function(it, n, expr) {
  left <- vapply(it$iargs, function(i) i$length - i$state$i, 0L)
  n <- min(n, left)
  if (n == 0L) {
    # The iterator itself is to notice that it has ended, and may combine what is left.
    return(take_elements(it, 1L, expr))
  }
  slices <- lapply(it$iargs, function(i) {
    start <- i$state$i
    i$state$i <- start + n
    unname(i$state$obj[start + seq_len(n)])
  })
  it$state$numValues <- it$state$numValues + n
  names(slices) <- it$argnames
  list(tasks = slices[nzchar(it$argnames)], n = n)
}

take_elements <- function(it, n, expr) {
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
  list(tasks = structure(tasks[seq_len(taken)], tasks = TRUE), n = taken, error = error)
}
