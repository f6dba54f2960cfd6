# The evaluator: plain base R that evaluates what the worker sends it. It reads framed requests from
# descriptor 3 and writes framed answers to descriptor 4, one request in flight. It lives in an
# environment of its own above base R, so that a task can neither see it nor get in its way.
#
# A frame to R:   integer kind, integer request, double length, payload.
# A frame from R: integer kind, integer request, integer pid, integer 0, double length, payload; with
# length -1 the payload ends with the secret of the marks.
.rustBatch <- local(envir = new.env(parent = baseenv()), {
  to_r <- c(hello = 1L, context = 2L, object = 3L, chunk = 4L)
  from_r <- c(ready = 1L, need = 2L, done = 3L, refused = 4L, interrupted = 5L, signal = 6L)
  pid <- Sys.getpid()
  request <- 0L
  mark <- ""

  # ---- the pipes ------------------------------------------------------------------------------
  requests <- answers <- NULL
  # Standard output and error past the sinks that a task may have set.
  out <- err <- NULL
  own <- function(connection) {
    now <- tryCatch(getConnection(as.integer(connection)), error = function(e) NULL)
    !is.null(now) && identical(attr(now, "conn_id"), attr(connection, "conn_id"))
  }
  # A task may have closed all connections; another may have the number of ours by now.
  open_pipes <- function() {
    if (is.null(requests) || !own(requests)) requests <<- file("/dev/fd/3", "rb", raw = TRUE)
    if (is.null(answers) || !own(answers)) answers <<- file("/dev/fd/4", "wb", raw = TRUE)
    if (is.null(out) || !own(out)) out <<- file("/dev/fd/1", "wb", raw = TRUE)
    if (is.null(err) || !own(err)) err <<- file("/dev/fd/2", "wb", raw = TRUE)
  }
  receive <- function() {
    head <- readBin(requests, "integer", 2L)
    # The worker is gone: nothing is left to do, and nobody to tell.
    if (length(head) < 2L) leave()
    request <<- head[2L]
    list(kind = head[1L], size = readBin(requests, "double", 1L))
  }
  # More than 2^31 - 1 bytes can be neither read nor written in one call, so what is long goes
  # through the pipe as a stream.
  long <- 2^30
  take <- function(size) readBin(requests, "raw", size)
  # A connection from which the next `size` bytes are unserialized, and how it is put away.
  reader <- function(size) {
    if (size > long) return(list(from = requests, close = function() NULL))
    bytes <- rawConnection(take(size))
    list(from = bytes, close = function() close(bytes))
  }
  # Reads one value of `size` bytes.
  take_value <- function(size) if (size > long) unserialize(requests) else unserialize(take(size))
  begin <- function(kind, size) {
    # A forked child of a task must not answer in its parent's place.
    if (Sys.getpid() != pid) leave()
    open_pipes()
    writeBin(c(from_r[[kind]], request, pid, 0L), answers)
    writeBin(as.double(size), answers)
  }
  send <- function(kind, bytes = raw()) {
    begin(kind, length(bytes))
    writeBin(bytes, answers)
    flush(answers)
  }
  # The end of a stream is known by the secret that the marks have.
  send_long <- function(kind, value) {
    begin(kind, -1)
    serialize(value, answers, xdr = FALSE)
    writeBin(charToRaw(mark), answers)
    flush(answers)
  }
  leave <- function() tools::pskill(Sys.getpid(), 9L)
  pack <- function(value) serialize(value, NULL, xdr = FALSE)

  # ---- the session as it was before the task --------------------------------------------------
  home <- getwd()
  connections <- integer()
  # Sorted, as options() has them, they take ten times as long.
  current_options <- function() as.list(.Options)
  settings <- own_settings <- current_options()
  # As "NAME=value"; Sys.getenv() would take ten times as long.
  environ <- function() .Internal(Sys.getenv(character(), ""))
  variables <- own_variables <- environ()
  loaded <- length(loadedNamespaces())
  path <- own_path <- search()
  # What stands in the global environment between tasks.
  globals <- list()

  # Cheap enough for every task: what sink.number() does takes a tenth of the time that it takes.
  tidy <- function() {
    while (.Internal(sink.number(TRUE)) > 0L) sink()
    if (.Internal(sink.number(FALSE)) != 2L) sink(type = "message")
    now <- getAllConnections()
    if (!identical(now, connections)) {
      open_pipes()
      ours <- c(0:2, vapply(list(requests, answers, out, err), as.integer, 0L))
      for (other in setdiff(getAllConnections(), ours)) {
        tryCatch(close(getConnection(other)), error = function(e) NULL)
      }
      connections <<- getAllConnections()
    }
    if (!identical(getwd(), home)) setwd(home)
  }
  # For tasks that took long enough to bear it, and after every chunk.
  tidy_session <- function() {
    keep_added()
    setTimeLimit()
    setSessionTimeLimit()
    now <- current_options()
    if (!identical(now, settings)) {
      added <- setdiff(names(now), names(settings))
      options(c(settings, stats::setNames(vector("list", length(added)), added)))
      settings <<- current_options()
    }
    tidy_variables()
    for (added in setdiff(search(), path)) try(detach(added, character.only = TRUE), silent = TRUE)
    for (lost in setdiff(path, search())) {
      try(attachNamespace(sub("^package:", "", lost)), silent = TRUE)
    }
    globals <<- restore(globalenv(), globals)
  }
  # What a package set when it was loaded stays: that happens once in the life of a process.
  keep_added <- function() {
    if (length(loadedNamespaces()) == loaded) return()
    loaded <<- length(loadedNamespaces())
    now <- current_options()
    added <- setdiff(names(now), names(own_settings))
    settings[added] <<- own_settings[added] <<- now[added]
    now <- environ()
    added <- now[!name_of(now) %in% name_of(own_variables)]
    variables <<- c(variables[!name_of(variables) %in% name_of(added)], added)
    own_variables <<- c(own_variables, added)
  }
  name_of <- function(variables) substr(variables, 1L, regexpr("=", variables, fixed = TRUE) - 1L)
  tidy_variables <- function() {
    now <- environ()
    if (identical(now, variables)) return()
    Sys.unsetenv(setdiff(name_of(now), name_of(variables)))
    lost <- setdiff(variables, now)
    values <- substring(lost, nchar(name_of(lost)) + 2L)
    if (length(lost)) do.call(Sys.setenv, as.list(stats::setNames(values, name_of(lost))))
    variables <<- environ()
  }
  # The bindings of an environment, without those that change with every task.
  bindings <- function(env) {
    now <- as.list.environment(env, all.names = TRUE)
    now[c(".Random.seed", "...", context$names)] <- NULL
    now
  }
  # Makes the bindings of an environment what they were; says what they are.
  restore <- function(env, before) {
    if (identical(bindings(env), before)) return(before)
    for (name in union(ls(env, all.names = TRUE), names(before))) {
      if (name %in% c(".Random.seed", "...")) next
      if (exists(name, envir = env, inherits = FALSE)) {
        if (bindingIsLocked(name, env)) unlockBinding(name, env)
        if (is.null(before[[name]])) rm(list = name, envir = env)
      }
      if (name %in% names(before)) assign(name, before[[name]], envir = env)
    }
    bindings(env)
  }

  # ---- the context of a job -------------------------------------------------------------------
  context <- NULL
  load_context <- function(size) {
    context <<- NULL
    reader <- reader(size)
    on.exit(reader$close())
    head <- unserialize(reader$from)
    globals <<- list()
    prepare_session(head)
    exports <- if (head$global) {
      globalenv()
    } else {
      new.env(parent = home_of(head$namespace))
    }
    body <- unserialize(reader$from, refhook = function(name) exports)
    if (!is.null(body$dots)) {
      # An empty one is a missing argument to R.
      empty <- !exists("...", body$dots, inherits = FALSE)
      assign("...", if (empty) quote(expr = ) else get("...", body$dots), envir = exports)
    }
    blobs <- unlist(head$beside)
    rm(list = setdiff(names(shelf), blobs), envir = shelf)
    fill(exports, body$objects, head$beside$objects)
    fill(globalenv(), body$globals, head$beside$globals)
    context <<- list(
      expr = head$expr, names = head$arguments, seed = head$seed, exports = exports,
      careful = head$careful, chunks = 0L
    )
    context$before <<- bindings(exports)
    context$kept <<- names(context$before)
    globals <<- bindings(globalenv())
  }
  # What the session is prepared for; another loop of the same kind finds it so.
  prepared <- NULL
  prepare_session <- function(head) {
    wanted <- head[c("packages", "attached", "loaded", "options", "lib_paths", "language")]
    if (identical(wanted, prepared)) return(tidy_session())
    prepared <<- NULL
    # What the job before had is taken back, but for packages that this one has as well.
    settings <<- own_settings
    variables <<- own_variables
    packages <- c(head$attached, head$packages)
    path <<- union(own_path, intersect(search(), paste0("package:", packages)))
    tidy_session()
    .libPaths(unique(c(head$lib_paths, .libPaths())))
    if (!is.na(head$language)) Sys.setenv(LANGUAGE = head$language)
    attach_package <- function(package) {
      suppressWarnings(suppressPackageStartupMessages(library(package, character.only = TRUE)))
    }
    for (package in head$attached) try(attach_package(package), silent = TRUE)
    for (package in head$packages) attach_package(package)
    for (package in head$loaded) try(loadNamespace(package), silent = TRUE)
    keep_added()
    if (length(head$options)) options(head$options)
    path <<- search()
    settings <<- current_options()
    variables <<- environ()
    prepared <<- wanted
  }
  home_of <- function(namespace) {
    if (is.null(namespace)) return(globalenv())
    tryCatch(asNamespace(namespace), error = function(e) globalenv())
  }
  # Plain data of the last loop, by its blob: the next one may use it again.
  shelf <- new.env(parent = emptyenv())
  # Assigns objects; those that travel beside the context are asked for once.
  fill <- function(env, objects, beside) {
    for (name in names(objects)) assign(name, objects[[name]], envir = env)
    for (name in names(beside)) {
      blob <- beside[[name]]
      if (is.null(shelf[[blob]])) {
        send("need", charToRaw(blob))
        shelf[[blob]] <- take_value(receive()$size)
      }
      assign(name, shelf[[blob]], envir = env)
    }
  }

  # ---- a chunk --------------------------------------------------------------------------------
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
  run_tasks <- function(arguments, offset, n, seeds) {
    values <- vector("list", n)
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
      value <- evaluate(context$expr, exports)
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
  run_chunk <- function(size) {
    numbers <- readBin(requests, "integer", 3L)
    offset <- numbers[1L]
    n <- numbers[2L]
    seeds <- if (numbers[3L] == 1L) matrix(readBin(requests, "integer", 6L * n), nrow = 6L)
    arguments <- take_value(size - 12 - 24 * n * numbers[3L])
    # A short loop does not pay for compiling.
    context$chunks <<- context$chunks + 1L
    if (context$chunks == 2L || n >= 50L && context$chunks < 2L) {
      context$expr <<- compiler::compile(
        context$expr, context$exports, options = list(suppressAll = TRUE)
      )
      context$chunks <<- 2L
    }
    notes <<- failures <<- NULL
    values <- tryCatch(
      allowInterrupts(run_tasks(arguments, offset, n, seeds)),
      interrupt = function(i) NULL
    )
    if (exists(".Random.seed", session, inherits = FALSE)) rm(".Random.seed", envir = session)
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

  # ---- the loop -------------------------------------------------------------------------------
  take_context <- function(size) {
    load_context(size)
    send("ready")
  }
  # Half a stream can't be skipped: the worker starts another R process.
  refuse <- function(e) if (request_size > long) stop(e) else send("refused", pack(e))
  request_size <- 0
  serve <- function() {
    frame <- receive()
    request_size <<- frame$size
    if (frame$kind == to_r[["hello"]]) {
      mark <<- rawToChar(take(frame$size))
      send("ready")
    } else if (frame$kind == to_r[["context"]]) {
      tryCatch(take_context(frame$size), error = refuse)
    } else if (frame$kind == to_r[["chunk"]]) {
      run_chunk(frame$size)
    } else {
      leave()
    }
  }
  # A function of a short name, because R shows the calls that led to a crash.
  function() {
    rm(".rustBatch", envir = globalenv())
    # A loop within a task runs in the task's own process.
    setHook(packageEvent("foreach", "onLoad"), function(...) foreach::registerDoSEQ())
    open_pipes()
    connections <<- getAllConnections()
    suspendInterrupts(repeat serve())
  }
})
.rustBatch()
