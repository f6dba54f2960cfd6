# The session as it was before the task: what a task changed is taken back.

# The worker's own library, where it has one: it comes first. Tasks need not know.
own_library <- Sys.getenv("RUSTBATCH_LIBRARY", names = FALSE)
own_library <- own_library[nzchar(own_library)]
Sys.unsetenv("RUSTBATCH_LIBRARY")
home <- getwd()
connections <- integer()
# Sorted, as options() has them, they take ten times as long.
current_options <- function() as.list(.Options)
settings <- own_settings <- current_options()
# What no option tells.
locales <- c("LC_COLLATE", "LC_CTYPE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")
look_around <- function() {
  list(
    locale = vapply(locales, Sys.getlocale, ""), mask = Sys.umask(NA), libraries = .libPaths()
  )
}
# As "NAME=value"; Sys.getenv() would take ten times as long.
environ <- function() .Internal(Sys.getenv(character(), ""))
variables <- own_variables <- environ()
surroundings <- own_surroundings <- look_around()
loaded <- length(loadedNamespaces())
path <- own_path <- search()
# What stands in the global environment between tasks.
globals <- list()

# Cheap enough for every task: `.Internal(sink.number())` costs a tenth of `sink.number()`.
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
  if (!identical(look_around(), surroundings)) tidy_surroundings()
  if (!identical(search(), path)) tidy_path()
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
tidy_surroundings <- function() {
  for (part in locales) suppressWarnings(Sys.setlocale(part, surroundings$locale[[part]]))
  Sys.umask(surroundings$mask)
  .libPaths(surroundings$libraries)
}
tidy_path <- function() {
  for (added in setdiff(search(), path)) try(detach(added, character.only = TRUE), silent = TRUE)
  for (lost in setdiff(path, search())) {
    try(attachNamespace(sub("^package:", "", lost)), silent = TRUE)
  }
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
  # An empty list with names is not identical to one without.
  if (length(now)) now else list()
}
# rm() would take twenty times as long.
discard <- function(names, env) .Internal(remove(names, env, FALSE))
clear <- function(env) discard(names(env), env)
# Makes the bindings of an environment what they were; says what they are.
restore <- function(env, before) {
  if (identical(bindings(env), before)) return(before)
  for (name in union(ls(env, all.names = TRUE), names(before))) {
    if (name %in% c(".Random.seed", "...")) next
    if (exists(name, envir = env, inherits = FALSE)) {
      if (bindingIsLocked(name, env)) unlockBinding(name, env)
      if (is.null(before[[name]])) discard(name, env)
    }
    if (name %in% names(before)) assign(name, before[[name]], envir = env)
  }
  bindings(env)
}
