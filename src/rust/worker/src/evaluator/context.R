# The context of a job: what its tasks share.

context <- NULL
# Reads a context: the length of its head, the head, the body.
read_context <- function(size) {
  length <- readBin(requests, "double", 1L)
  list(head = value_of(length), body = value_of(size - 8 - length))
}
load_context <- function(parts) {
  context <<- NULL
  head <- parts$head()
  clear(globalenv())
  globals <<- list()
  prepare_session(head)
  exports <- if (head$global) {
    globalenv()
  } else {
    new.env(parent = home_of(head$namespace))
  }
  body <- parts$body(function(name) exports)
  if (!is.null(body$dots)) {
    # An empty one is a missing argument to R.
    empty <- !exists("...", body$dots, inherits = FALSE)
    assign("...", if (empty) quote(expr = ) else get("...", body$dots), envir = exports)
  }
  blobs <- unlist(head$beside)
  discard(setdiff(names(shelf), blobs), shelf)
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
  # The last chunk has left the session tidy.
  if (identical(wanted, prepared)) return()
  prepared <<- NULL
  # What the job before had is taken back, but for packages that this one has as well.
  settings <<- own_settings
  variables <<- own_variables
  surroundings <<- own_surroundings
  packages <- c(head$attached, head$packages)
  path <<- union(own_path, intersect(search(), paste0("package:", packages)))
  tidy_session()
  .libPaths(unique(c(own_library, head$lib_paths, .libPaths())))
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
  surroundings <<- look_around()
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
      frame <- receive()
      shelf[[blob]] <- if (frame$kind == to_r[["file"]]) {
        read_file(rawToChar(take(frame$size)))
      } else {
        take_value(frame$size)
      }
    }
    assign(name, shelf[[blob]], envir = env)
  }
}
