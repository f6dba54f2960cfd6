# What foreach calls for %dopar%: the context goes out, arguments follow in chunks, values come
# back.
dopar <- function(obj, expr, envir, data) {
  if (!inherits(obj, "foreach")) {
    stop("obj must be a foreach object")
  }
  cluster_check(data$pointer)
  options <- loop_options(obj)
  taken <- take_packages(obj, expr)
  obj <- taken$obj
  # The loop's only draw, before the iterators may draw themselves.
  # doRNG has given every task a stream, and counts on nobody else's drawing.
  seed <- if (!".doRNG.stream" %in% obj$argnames) loop_seed()
  it <- iter(obj)
  context <- loop_context(obj, expr, envir, seed, it)
  wanted <- wanted_packages(context$head$packages, taken$packages)
  sizes <- as.numeric(c(task_count(it), options$chunkSize))
  job <- open_job(data, context, wanted, seed, sizes)
  on.exit(job_close(job$pointer, TRUE))
  failure <- run_loop(data, job, obj, expr, it, context$calling)
  error <- getErrorValue(it)
  if (identical(obj$errorHandling, "stop") && !is.null(error)) {
    stop(task_error(error, getErrorIndex(it), expr, failure))
  }
  # All is here, so there is nothing to wait for.
  job_close(job$pointer, FALSE)
  warn_of_trouble(data$pointer)
  # .final runs in it. Its error stays what it is, and is of our class as well.
  tryCatch(getResult(it), error = function(e) stop(as_ours(e, "loop")))
}

# A cluster that can't be kept up runs its loops with the workers that it still has.
warn_of_trouble <- function(pointer) {
  trouble <- cluster_trouble(pointer)
  if (!is.null(trouble) && !identical(trouble, told$trouble)) {
    warn("unkept", paste0("What dies of the cluster is not replaced: ", trouble))
  }
  told$trouble <- trouble
}

# What has been told last.
told <- new.env(parent = emptyenv())

# The loop's options, from .options.rustBatch.
loop_options <- function(obj) {
  options <- obj$options$rustBatch
  if (!is.null(options) && !is.list(options)) {
    abort("config", paste0(
      "`.options.rustBatch` is ", what_it_is(options), ", not a list\n",
      "* For example: `.options.rustBatch = list(chunkSize = 10)`."
    ))
  }
  known <- c("chunkSize", "github", "bioconductor")
  unknown <- setdiff(names(options), known)
  if (length(unknown)) {
    warning(
      "unknown option(s) in .options.rustBatch: ", paste(unknown, collapse = ", "),
      call. = FALSE
    )
  }
  size <- options$chunkSize
  if (!is.null(size)) {
    if (!is.numeric(size) || length(size) != 1L || !is.finite(size) || size < 1 || size %% 1 != 0) {
      abort("config", "`chunkSize` in .options.rustBatch must be a whole number, at least 1")
    }
    # No chunk is larger than what one answer should hold.
    options$chunkSize <- as.integer(min(size, 1e6))
  }
  options
}

# The condition of a loop that a task's error ends. foreach counts the tasks of an inner loop anew,
# and so does the message; the field `task` counts them all.
task_error <- function(error, index, expr, failure) {
  message <- sprintf("task %d failed - \"%s\"", index, conditionMessage(error))
  condition <- failure_condition("task", message, failure, parent = error, call = expr)
  # A crash is one here, too, with all that is known of it.
  ours <- grep("^rustBatch_error_", class(error), value = TRUE)
  class(condition) <- append(class(condition), setdiff(ours, class(condition)), after = 1L)
  if (length(ours)) condition <- with_elements(condition, error)
  as_foreach(condition)
}

# A condition with the elements of another that it does not have.
with_elements <- function(condition, other) {
  added <- setdiff(names(other), c(names(condition), "message", "call", "parent"))
  structure(c(unclass(condition), unclass(other)[added]), class = class(condition))
}

# The condition of a loop that its iterator or its .combine ends.
loop_error <- function(error, expr) {
  as_foreach(failure_condition("loop", conditionMessage(error), parent = error, call = expr))
}

# Somebody else's error, of our class as well, behind its own.
as_ours <- function(error, kind) {
  ours <- c(paste0("rustBatch_error_", kind), "rustBatch_error")
  classes <- setdiff(class(error), c(ours, "error", "condition"))
  class(error) <- c(classes, ours, "error", "condition")
  error
}

# Of our class, and of the one that foreach's own errors have.
as_foreach <- function(condition) {
  class(condition) <- append(class(condition), "simpleError", after = length(class(condition)) - 2L)
  condition
}
