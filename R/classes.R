# What objects need beside themselves: the methods of their classes. Nothing names these, so no look
# at an expression finds them.

# Names in the global environment that dispatch may need: S3 methods, that is functions named after
# a generic and a class, and what setClass() and setMethod() leave there.
global_methods <- function() {
  names <- names(globalenv())
  s4 <- startsWith(names, ".__C__") | startsWith(names, ".__T__")
  dotted <- names[grepl("^[^.].*[.].", names)]
  c(names[s4], Filter(is_method_name, dotted))
}

is_method_name <- function(name) {
  if (!is.function(get0(name, envir = globalenv(), inherits = FALSE))) {
    return(FALSE)
  }
  dots <- gregexpr(".", name, fixed = TRUE)[[1]]
  generics <- substring(name, 1L, dots - 1L)
  any(vapply(generics, exists, NA, envir = globalenv(), mode = "function"))
}

# The loaded packages that have methods for the classes of these objects.
class_owners <- function(objects) {
  classes <- unique(unlist(lapply(Filter(is.object, objects), class)))
  if (is.null(classes)) {
    return()
  }
  unique(unlist(lapply(setdiff(classes, plain_classes), owners_of)))
}

plain_classes <- c(
  "data.frame", "factor", "ordered", "Date", "POSIXct", "POSIXt", "table", "formula"
)

# Looking through the packages takes a while, so the answer is kept until another one is loaded.
owners_of <- local({
  known <- list()
  loaded <- 0L
  function(class) {
    if (length(loadedNamespaces()) != loaded) {
      known <<- list()
      loaded <<- length(loadedNamespaces())
    }
    if (is.null(known[[class]])) {
      has <- function(package) class %in% getNamespaceInfo(package, "S3methods")[, 2L]
      others <- setdiff(loadedNamespaces(), c(default_packages, "rustBatch"))
      known[[class]] <<- Filter(has, others)
    }
    known[[class]]
  }
})
