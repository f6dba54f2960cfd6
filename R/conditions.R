# Rust reports a failure as a value (`failure.rs`); here it becomes a condition. The wrappers in
# native.R call unwrap(), so nothing else has to look at what Rust returned.

# The value of an entry point; or its error, raised; or R's own jump out of it, resumed.
unwrap <- function(value, call = calling_frame()) {
  if (!is.object(value)) {
    return(value)
  }
  if (inherits(value, "rustBatch_unwind")) {
    .External(rustBatch_resume, value[[1]])
  }
  if (inherits(value, "rustBatch_failure")) {
    abort(value$kind, value$message, value$fields, call = call)
  }
  value
}

# Raises rustBatch_error_<kind>. `fields` become elements of the condition, `parent` is the
# condition that caused it.
abort <- function(kind, message, fields = list(), parent = NULL, call = calling_frame()) {
  stop(failure_condition(kind, message, fields, parent, call))
}

failure_condition <- function(kind, message, fields = list(), parent = NULL, call = NULL) {
  structure(
    class = c(paste0("rustBatch_error_", kind), "rustBatch_error", "error", "condition"),
    c(list(message = message, call = call), fields, if (!is.null(parent)) list(parent = parent))
  )
}

# Warns with the class rustBatch_warning_<kind>.
warn <- function(kind, message, fields = list(), call = calling_frame()) {
  warning(structure(
    class = c(paste0("rustBatch_warning_", kind), "rustBatch_warning", "warning", "condition"),
    c(list(message = message, call = call), fields)
  ))
}

# The call by which the user entered this package: of the functions that are running now, the
# outermost of ours that is reached through ours and R's own (tryCatch(), lapply()) alone.
calling_frame <- function() {
  home <- topenv()
  call <- NULL
  # What foreach calls is nothing that the user has written.
  ours <- quote(e$fun)
  for (frame in rev(seq_len(sys.nframe() - 1L))) {
    origin <- environment(sys.function(frame))
    origin <- if (is.null(origin)) baseenv() else topenv(origin)
    if (identical(origin, home)) {
      call <- sys.call(frame)
      if (identical(call[[1]], ours)) return(NULL)
    } else if (!identical(origin, baseenv()) && !identical(origin, .BaseNamespaceEnv)) {
      break
    }
  }
  discreet(call)
}

# A call stands in errors, so one that holds a password stands there without its arguments.
discreet <- function(call) {
  name <- if (!is.null(call)) sub("^.*::", "", deparse(call[[1]], nlines = 1L)[1])
  holds <- switch(name %||% "",
    setCredentials = TRUE,
    makeCluster = ,
    getCluster = ,
    getClusterList = ,
    cleanupClusters = any(grepl("://[^/]*@", deparse(call))),
    FALSE
  )
  if (holds) call[1] else call
}

#' @export
conditionMessage.rustBatch_error <- function(c) {
  # The error of a task is worded as foreach words it, which packages rely on.
  if (is.null(c$parent) || inherits(c, "simpleError")) {
    return(c$message)
  }
  call <- conditionCall(c$parent)
  origin <- if (is.null(call)) "" else paste0(" in `", deparse(call, nlines = 1L)[1], "`")
  paste0(c$message, "\nCaused by an error", origin, ":\n", conditionMessage(c$parent))
}

#' @export
print.rustBatch_error <- function(x, ...) {
  cat("<", class(x)[1], ">\n", conditionMessage(x), "\n", sep = "")
  fields <- x[setdiff(names(x), c("message", "call", "parent", ""))]
  shown <- vapply(fields, function(field) paste(format(field), collapse = " "), "")
  cat(sprintf("%s: %s\n", names(fields), shown), sep = "")
  invisible(x)
}
