# What foreach calls for %dopar%: the context goes out, arguments follow in chunks, values come
# back.
dopar <- function(obj, expr, envir, data) {
  if (!inherits(obj, "foreach")) {
    stop("obj must be a foreach object")
  }
  check_open(data)
  options <- loop_options(obj)
  # The loop's only draw, before the iterators may draw themselves.
  seed <- loop_seed()
  it <- iter(obj)
  context <- loop_context(obj, expr, envir, seed)
  job <- open_job(data, context, seed, options$chunkSize)
  on.exit(job_close(job))
  failures <- run_loop(data, job, obj, expr, it, context$calling)
  error <- getErrorValue(it)
  if (identical(obj$errorHandling, "stop") && !is.null(error)) {
    stop(task_error(error, getErrorIndex(it), expr, failures))
  }
  job_close(job)
  getResult(it)
}

# The loop's options, from .options.rustBatch.
loop_options <- function(obj) {
  options <- obj$options$rustBatch
  known <- "chunkSize"
  unknown <- setdiff(names(options), known)
  if (length(unknown)) {
    warning(
      "unknown option(s) in .options.rustBatch: ", paste(unknown, collapse = ", "),
      call. = FALSE
    )
  }
  size <- options$chunkSize
  if (!is.null(size)) {
    if (!is.numeric(size) || length(size) != 1L || is.na(size) || size < 1 || size %% 1 != 0) {
      abort("config", "`chunkSize` in .options.rustBatch must be a whole number, at least 1")
    }
    # No chunk is larger than what one answer should hold.
    options$chunkSize <- as.integer(min(size, 1e6))
  }
  options
}

# The condition of a loop that a task's error ends: worded as foreach words it, and of our class.
task_error <- function(error, index, expr, failures) {
  failure <- failures[[as.character(index)]]
  condition <- failure_condition(
    "task", sprintf("task %d failed - \"%s\"", index, conditionMessage(error)),
    c(list(task = index), failure),
    parent = error, call = expr
  )
  class(condition) <- append(class(condition), "simpleError", after = 2L)
  condition
}
