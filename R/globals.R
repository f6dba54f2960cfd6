# Finds the objects that an expression uses, and those that the functions among them use.

# Returns `objects` (found between `envir` and the global environment), `globals` (found in the
# global environment), `dots` (the `...` of the calling function), `namespace` (the package whose
# code runs the loop), `names` (all that code uses) and `attached` (packages whose functions are
# used). When `envir` is the global environment, what is found there is in `objects`.
find_globals <- function(expr, envir, arguments, noexport, export, values = list()) {
  frames <- frames_of(envir)
  state <- new.env(parent = emptyenv())
  state$objects <- state$globals <- list()
  state$attached <- character()
  state$seen <- list()
  names <- names_in(expr)
  names$all <- setdiff(names$all, arguments)
  look_up(names, envir, frames, noexport, state)
  for (value in values) look_into(value, frames, noexport, state)
  look_up(list(all = global_methods()), globalenv(), frames, noexport, state)
  for (name in export) {
    if (!exists(name, envir, inherits = TRUE)) {
      message <- sprintf("unable to find variable \"%s\"", name)
      stop(as_ours(simpleError(message, sys.call()), "export"))
    }
    if (is.null(state$objects[[name]]) && is.null(state$globals[[name]])) {
      value <- get(name, envir, inherits = TRUE)
      state$objects[name] <- list(value)
      look_into(value, frames, noexport, state)
    }
  }
  attached <- state$attached
  list(
    objects = state$objects, globals = state$globals, dots = state$dots,
    namespace = frames$namespace, names = state$sure,
    attached = if (length(attached)) rev(intersect(search_packages(), attached)) else attached
  )
}

# The environments from `envir` up to the global one, and the namespace where the way ends there.
frames_of <- function(envir) {
  frames <- list()
  namespace <- NULL
  env <- envir
  while (!identical(env, emptyenv())) {
    if (isNamespace(env)) {
      if (!identical(env, baseenv()) && !identical(env, .BaseNamespaceEnv)) {
        namespace <- getNamespaceName(env)[[1]]
      }
      break
    }
    frames <- c(frames, list(env))
    if (identical(env, globalenv())) break
    env <- parent.env(env)
  }
  # A loop may stand in a namespace itself.
  list(frames = if (length(frames)) frames else list(envir), namespace = namespace)
}

# Looks names up from `env`, as R would when it evaluates there.
look_up <- function(names, env, frames, noexport, state) {
  state$sure <- c(state$sure, names$sure)
  for (name in names$all) {
    at <- env
    inside <- FALSE
    while (!identical(at, emptyenv()) && !isNamespace(at)) {
      inside <- inside || identical(at, frames$frames[[1]])
      if (exists(name, envir = at, inherits = FALSE)) {
        found_at(name, at, inside, frames, noexport, state)
        break
      }
      if (identical(at, globalenv())) {
        note_package(name, state)
        break
      }
      at <- parent.env(at)
    }
  }
}

# `inside`: the way there went through the environment of the loop.
found_at <- function(name, at, inside, frames, noexport, state) {
  first <- frames$frames[[1]]
  place <- if (identical(at, globalenv()) && !identical(first, at)) {
    "globals"
  } else if (inside) {
    "objects"
  } else {
    # It travels in the environment of the function that uses it.
    "elsewhere"
  }
  if (name %in% noexport || !is.null(state[[place]][[name]])) {
    return()
  }
  if (name == "...") {
    if (place == "objects") {
      state$dots <- dots_of(at)
      code <- eval(quote(substitute(list(...))), at)
      look_up(names_in(code), globalenv(), frames, noexport, state)
    }
    return()
  }
  # What can't be had, such as a missing argument, is an error of the task that uses it.
  value <- tryCatch(list(get(name, envir = at, inherits = FALSE)), error = function(e) NULL)
  if (is.null(value)) {
    return()
  }
  value <- value[[1L]]
  if (inherits(value, never_sent) && !name %in% state$sure) {
    return()
  }
  if (place != "elsewhere") {
    known <- state[[place]]
    known[name] <- list(value)
    assign(place, known, envir = state)
  }
  look_into(value, frames, noexport, state)
}

# The `...` of a function that is running, in an environment of its own. Arguments keep their code;
# those that can't be evaluated now, such as column names of a data frame, are left to the tasks.
dots_of <- function(env) {
  holder <- new.env(parent = emptyenv())
  n <- eval(quote(...length()), env)
  for (k in seq_len(n)) tryCatch(eval(bquote(...elt(.(k))), env), error = function(e) NULL)
  if (n > 0L) assign("...", get("...", envir = env), envir = holder)
  holder
}

# What a function uses, or a formula, is looked up where it was made; in a list, that of each
# function.
look_into <- function(value, frames, noexport, state) {
  if (is.list(value) && !is.object(value)) {
    for (one in Filter(is.function, value)) look_into(one, frames, noexport, state)
    return()
  }
  env <- environment(value)
  if (is.null(env) || isNamespace(env) || !is.function(value) && !inherits(value, "formula")) {
    return()
  }
  for (before in state$seen) if (identical(before, value)) return()
  state$seen <- c(state$seen, list(value))
  names <- if (is.function(value)) names_in(value) else list(all = all.vars(value))
  look_up(names, env, frames, noexport, state)
}

# The package on the search path that a name is from, unless every R has it there.
note_package <- function(name, state) {
  for (package in search_packages()) {
    if (exists(name, envir = as.environment(paste0("package:", package)), inherits = FALSE)) {
      state$attached <- union(state$attached, package)
      return()
    }
  }
}

default_packages <- c("base", "stats", "graphics", "grDevices", "utils", "datasets", "methods")

# The attached packages beyond those, in the order of the search path.
search_packages <- function() {
  attached <- search()
  attached <- sub("^package:", "", attached[startsWith(attached, "package:")])
  setdiff(attached, c(default_packages, "rustBatch"))
}

# The names that an expression or a function takes from outside: `sure`, and `all`, with those that
# it may have assigned itself before. Finding them takes about a millisecond, so the last ones are
# remembered; of a function not the function itself, whose environment would never be freed then.
names_in <- local({
  known <- list()
  function(code) {
    key <- if (is.function(code)) list(formals(code), body(code)) else code
    for (one in known) if (identical(one$key, key)) return(one$names)
    # It warns of `...` where it sees no function around it; foreach puts one there.
    names <- suppressWarnings(list(
      sure = globals::findGlobals(code), all = globals::findGlobals(code, method = "liberal")
    ))
    names$all <- union(names$sure, names$all)
    # findGlobals() leaves out `...` in an expression that is not a function.
    used <- if (is.function(code)) names$all else all.names(code)
    if (any(grepl("^[.][.]([.](elt|length|names)?|[0-9]+)$", used))) {
      names$all <- union(names$all, "...")
    }
    known <<- utils::head(c(list(list(key = key, names = names)), known), 64L)
    names
  }
})
