# A package with a loop in it, installed for one test into a library of its own, which is on R's
# path until the test ends.
local_fixture <- function(frame = parent.frame()) {
  library <- tempfile("library-")
  source <- file.path(tempfile("source-"), "rbFixture")
  dir.create(library)
  dir.create(file.path(source, "R"), recursive = TRUE)
  writeLines(c("Package: rbFixture", "Version: 1.0", "Title: T", "Imports: foreach"),
    file.path(source, "DESCRIPTION")
  )
  writeLines(c("export(run, level)", "import(foreach)"), file.path(source, "NAMESPACE"))
  writeLines(c(
    "hidden <- 3",
    "scale <- function(i, by = hidden) i * by",
    "run <- function(n, ...) {",
    "  own <- 100",
    "  foreach(i = seq_len(n), .combine = c) %dopar% (own + scale(i, ...))",
    "}",
    "level <- function() getOption('rbFixture.level') + nchar(Sys.getenv('RB_FIXTURE'))",
    ".onLoad <- function(libname, pkgname) {",
    "  options(rbFixture.level = 5)",
    "  Sys.setenv(RB_FIXTURE = 'ab')",
    "}"
  ), file.path(source, "R", "all.R"))
  said <- system2(file.path(R.home("bin"), "R"),
    c("CMD", "INSTALL", "--no-docs", "--no-byte-compile", paste0("--library=", library), source),
    stdout = TRUE, stderr = TRUE
  )
  if (!dir.exists(file.path(library, "rbFixture"))) stop(paste(said, collapse = "\n"))
  paths <- .libPaths()
  at_end(bquote(.libPaths(.(paths))), frame)
  at_end(quote(unloadNamespace("rbFixture")), frame)
  .libPaths(c(library, paths))
}
