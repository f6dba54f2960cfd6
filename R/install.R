# The packages that a loop asks for: a worker in a container installs those that are missing there.

# Takes `github` and `bioconductor` out of a foreach object, where doAzureParallel has them as
# arguments: they name packages, and are no iterators. An argument of such a name that the tasks
# use, or the only one, is one. Returns the object and the packages.
take_packages <- function(obj, expr) {
  taken <- list()
  for (source in c("github", "bioconductor")) {
    found <- take_argument(obj, all.names(expr), source)
    obj <- found$obj
    taken[[source]] <- unique(c(found$value, obj$options$rustBatch[[source]]))
    check_packages(taken[[source]], source)
  }
  list(obj = obj, packages = taken)
}

# `used`: the names that the tasks use, and the loops within.
take_argument <- function(obj, used, name) {
  if (!is.null(obj$e1)) {
    return(take_nested(obj, used, name))
  }
  at <- which(obj$argnames == name)
  if (length(at) != 1L || length(obj$argnames) < 2L || name %in% used) {
    return(list(obj = obj))
  }
  value <- tryCatch(eval(obj$args[[at]], obj$evalenv), error = function(e) NULL)
  if (!is.character(value)) {
    return(list(obj = obj))
  }
  obj$args <- obj$args[-at]
  obj$argnames <- obj$argnames[-at]
  list(obj = obj, value = value)
}

# Of loops that %:% has joined, with each other or with when().
take_nested <- function(obj, used, name) {
  inner <- if (!is.null(obj$e2)) take_argument(obj$e2, used, name)
  outer <- take_argument(obj$e1, c(used, all_names(obj$e2), all.names(obj$qcond)), name)
  value <- c(outer$value, inner$value)
  if (!is.null(value)) {
    obj$e1 <- outer$obj
    obj$argnames <- outer$obj$argnames
    if (!is.null(inner)) {
      obj$e2 <- inner$obj
      obj$argnames <- union(obj$argnames, inner$obj$argnames)
    }
  }
  list(obj = obj, value = value)
}

# The names that the arguments of a loop use, and its conditions.
all_names <- function(obj) {
  own <- c(unlist(lapply(obj$args, all.names)), all.names(obj$qcond))
  c(own, if (!is.null(obj$e1)) all_names(obj$e1), if (!is.null(obj$e2)) all_names(obj$e2))
}

package_name <- "[[:alpha:]][[:alnum:].]*[[:alnum:]]"
package_forms <- list(
  github = list(
    "^[[:alnum:]._-]+(/[[:alnum:]._-]+)+(@[[:alnum:]._/-]+)?$",
    "`\"user/repository\"`, with `/folder` and `@tag` behind it where need be"
  ),
  bioconductor = list(paste0("^", package_name, "$"), "the name of a package")
)

check_packages <- function(packages, source) {
  if (is.null(packages)) {
    return()
  }
  form <- package_forms[[source]]
  bad <- if (is.character(packages)) packages[is.na(packages) | !grepl(form[[1L]], packages)]
  if (!is.character(packages) || length(bad)) {
    found <- if (length(bad)) paste0("the text \"", bad[1L], "\"") else what_it_is(packages)
    abort("config", paste0(
      "Can't use `", source, "` of foreach(): ", found, "\n* Each is ", form[[2L]], "."
    ), list(field = source, found = found))
  }
}

# What a worker is told of it: packages of CRAN, GitHub and Bioconductor, and where this session has
# its own, which workers of the same machine find, too.
wanted_packages <- function(packages, taken) {
  # One with another source is not asked of CRAN, by the name that it most likely has.
  elsewhere <- c(taken$bioconductor, sub(".*/", "", sub("@.*", "", taken$github)))
  wanted <- list(setdiff(packages, elsewhere), taken$github, taken$bioconductor)
  wanted <- lapply(wanted, as.character)
  if (any(lengths(wanted) > 0L)) c(wanted, list(.libPaths()))
}
