# Source packages in a CRAN-like repository of the test's own, and workers that may install them.

# `packages`: of each, by its name, a list of `needs` (lines of its description), `r` (its R, all
# exported) and `configure` (what it runs when it is installed). Returns the URL.
local_repository <- function(packages, frame = parent.frame()) {
  folder <- tempfile("repository-")
  place <- file.path(folder, "src", "contrib")
  dir.create(place, recursive = TRUE)
  at_end(bquote(unlink(.(folder), recursive = TRUE)), frame)
  source <- tempfile("source-")
  on.exit(unlink(source, recursive = TRUE))
  for (name in names(packages)) {
    package <- packages[[name]]
    root <- file.path(source, name)
    dir.create(file.path(root, "R"), recursive = TRUE)
    writeLines(c(
      paste("Package:", name), "Version: 1.0", "Title: T", "Description: D.", "License: MIT",
      "Author: A", "Maintainer: A <a@example.org>", package$needs
    ), file.path(root, "DESCRIPTION"))
    writeLines("exportPattern('.')", file.path(root, "NAMESPACE"))
    writeLines(c(package$r, "here <- TRUE"), file.path(root, "R", "all.R"))
    if (!is.null(package$configure)) {
      writeLines(c("#!/bin/sh", package$configure), file.path(root, "configure"))
      Sys.chmod(file.path(root, "configure"), "755")
    }
    archive <- file.path(place, paste0(name, "_1.0.tar.gz"))
    system2("tar", c("-czf", archive, "-C", source, name))
  }
  tools::write_PACKAGES(place, type = "source")
  paste0("file://", folder)
}

# A cluster whose worker may install packages, as those in containers may: between it and the client
# stands a script that tells it so. `setup` is what it installs before it joins, as JSON.
local_installing_cluster <- function(workers, setup, frame = parent.frame()) {
  script <- tempfile("worker-")
  real <- worker_executable()
  writeLines(c(
    "#!/bin/sh",
    sprintf("[ \"$1\" = work ] || exec '%s' \"$@\"", real),
    "IFS= read -r line",
    "mkfifo \"$0.$$\"",
    "exec 3<&0",
    "{",
    sprintf("  printf '%%s\\n' \"$line\" | sed 's|\"setup\":null|\"setup\":%s|'", setup),
    "  rm \"$0.$$\"",
    "  exec cat <&3",
    "} >\"$0.$$\" &",
    sprintf("exec '%s' work <\"$0.$$\" 3<&-", real)
  ), script)
  Sys.chmod(script, "755")
  at_end(bquote(unlink(.(script))), frame)
  utils::assignInNamespace("worker_executable", function() script, "rustBatch")
  on.exit(utils::assignInNamespace("worker_executable", real_worker, "rustBatch"))
  local_cluster(workers, frame = frame)
}

real_worker <- worker_executable

setup_from <- function(url, rest = "") sprintf("{\"repositories\":[\"%s\"]%s}", url, rest)
