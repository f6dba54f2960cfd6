# What the tasks of a loop share: the expression, the objects it uses, packages, options.

# What a worker needs to evaluate `expr` as if it stood in `envir`. `calling` is the environment
# that goes by name: objects that refer to it find the exported objects there.
loop_context <- function(obj, expr, envir, seed, it) {
  global <- identical(envir, globalenv())
  values <- first_values(it)
  found <- find_globals(expr, envir, obj$argnames, obj$noexport, obj$export, values)
  refuse_exports(c(found$objects, found$globals))
  warn_of_size(c(found$objects, found$globals))
  head <- list(
    expr = expr,
    arguments = obj$argnames[nzchar(obj$argnames)],
    global = global,
    namespace = found$namespace,
    packages = unique(obj$packages),
    attached = found$attached,
    loaded = class_owners(c(found$objects, found$globals, values)),
    careful = any(session_changers %in% found$names),
    seed = if (!is.null(seed)) seed[1],
    lib_paths = .libPaths(),
    options = current_options(),
    language = Sys.getenv("LANGUAGE", NA)
  )
  body <- list(objects = found$objects, globals = found$globals, dots = found$dots)
  if (obj$verbose && length(c(found$objects, found$globals))) {
    cat("exporting:", paste(c(names(found$objects), names(found$globals)), collapse = ", "), "\n")
  }
  list(head = head, body = body, calling = if (!global) envir)
}

# The first value of each argument, where it is at hand: the others are most likely of its kind.
first_values <- function(it) {
  values <- if (inherits(it, "iforeach")) lapply(it$iargs, function(i) i$state$obj)
  lists <- Filter(function(x) is.list(x) && !is.object(x) && length(x), values)
  lapply(lists, `[[`, 1L)
}

# Functions that change the session. A loop whose code names one is tidied up after every task, not
# only after those that take long enough for it not to matter.
session_changers <- c(
  "assign", "attach", "data", "delayedAssign", "detach", "library", "load", "makeActiveBinding",
  "options", "require", "requireNamespace", "setSessionTimeLimit", "setTimeLimit", "source",
  "Sys.setenv", "Sys.setlocale", "Sys.umask", "Sys.unsetenv", ".libPaths", "sys.source", "<<-"
)

# Options that change what an expression computes or how it prints.
session_options <- c(
  "contrasts", "digits", "digits.secs", "max.print", "na.action", "OutDec", "scipen",
  "stringsAsFactors", "ts.eps", "useFancyQuotes", "warn", "width"
)

# Taking the whole list and leaving most of it takes a fifth of the time of asking one by one.
current_options <- function() {
  now <- as.list(.Options)
  now[names(now) %in% session_options]
}

# Opens the job of a context. Large plain objects are put into Redis one by one, beside the context:
# the next loop that uses them sends nothing. `wanted` are the packages that it asks for.
open_job <- function(cluster, context, wanted, seed, sizes) {
  head <- context$head
  body <- context$body
  exports <- list()
  for (part in c("objects", "globals")) {
    blobs <- lapply(body[[part]], function(value) export_object(cluster$pointer, value))
    blobs <- Filter(Negate(is.null), blobs)
    head$beside[[part]] <- blobs
    exports <- c(exports, stats::setNames(body[[part]][names(blobs)], unlist(blobs)))
    body[[part]][names(blobs)] <- NULL
  }
  job <- job_open(
    cluster$pointer, list(head, body), context$calling, as.character(names(exports)), wanted,
    seed[-1], sizes
  )
  list(pointer = job, exports = exports)
}

# Redis has lost an export that a worker needs.
supply_export <- function(cluster, job, event) {
  value <- job$exports[[which(startsWith(names(job$exports), event$hash))[1]]]
  export_again(cluster$pointer, value, event$worker)
}

# Large exports are slow, and often not meant; they are never refused.
warn_of_size <- function(objects) {
  limit <- getOption("rustBatch.export.warn", 500e6)
  sizes <- vapply(objects, function(x) as.numeric(utils::object.size(x)), 0)
  if (sum(sizes) <= limit) {
    return()
  }
  largest <- utils::head(sort(sizes, decreasing = TRUE), 3L)
  warning(
    sprintf("the loop sends %.0f MB of objects to its workers; the largest: ", sum(sizes) / 1e6),
    paste(sprintf("`%s` (%.0f MB)", names(largest), largest / 1e6), collapse = ", "),
    call. = FALSE
  )
}

never_sent <- c("rustBatchCluster", "rustBatchCredentials")

refuse_exports <- function(objects) {
  bad <- Filter(function(x) inherits(x, never_sent), objects)
  if (length(bad)) {
    name <- names(bad)[1]
    abort("export", paste0(
      "`", name, "` is a cluster or holds credentials, and is not sent to workers\n",
      "* A loop within a task runs in the task's own R process and needs no cluster.\n",
      "* If the tasks do not need it, exclude it: `.noexport = \"", name, "\"`."
    ), list(name = name))
  }
}
