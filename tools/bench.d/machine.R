# Prints, as a CSV, on what is measured. Called by tools/bench with the version of rustBatch's
# source, and the backends' names.

source("tools/bench.d/catalogue.R")

first <- function(command, ...) {
  lines <- suppressWarnings(tryCatch(
    system2(command, c(...), stdout = TRUE, stderr = FALSE),
    error = function(e) character()
  ))
  if (length(lines)) lines[1] else ""
}

# A field of a file in /proc.
proc <- function(file, field) {
  lines <- if (file.exists(file)) grep(paste0("^", field), readLines(file), value = TRUE)
  if (length(lines)) sub("^[^:]*:\\s*", "", lines[1]) else ""
}

gigabytes <- function(text) {
  if (nzchar(text)) sprintf("%.0f GB", as.numeric(gsub("\\D", "", text)) * 1024 / 1e9) else ""
}

versions <- function(packages) {
  there <- Filter(function(package) nzchar(system.file(package = package)), packages)
  vapply(there, function(package) as.character(utils::packageVersion(package)), "")
}

source <- commandArgs(TRUE)[1]
packages <- c("foreach", setdiff(unique(backends$package), c("foreach", "rustBatch")))
redis <- Sys.which(c("redis-server", "valkey-server"))
facts <- c(
  date = format(Sys.time(), "%Y-%m-%d %H:%M"),
  processor = proc("/proc/cpuinfo", "model name"),
  cores = as.character(parallel::detectCores()),
  memory = gigabytes(proc("/proc/meminfo", "MemTotal")),
  system = utils::sessionInfo()$running,
  `load before` = sub("^(\\S+).*", "\\1", proc("/proc/loadavg", "")),
  R = as.character(getRversion()),
  BLAS = basename(extSoftVersion()[["BLAS"]]),
  Redis = sub(".* v=(\\S+).*", "\\1", first(redis[nzchar(redis)][1], "--version")),
  Rust = sub("^rustc (\\S+).*", "\\1", first("rustc", "--version")),
  rustBatch = paste0(utils::packageVersion("rustBatch"), " (", source, ")"),
  versions(packages)
)
utils::write.csv(
  data.frame(what = names(facts), value = unname(facts)),
  row.names = FALSE
)
