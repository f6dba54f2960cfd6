# Prints the cells of a run, in their order, one a line: round work backend service limit. Called by
# tools/bench with the rounds ("" for the default), the works and the backends ("" for all).

source("tools/bench.d/catalogue.R")

chosen <- function(text, known, what) {
  if (!nzchar(text)) {
    return(known)
  }
  given <- strsplit(text, ",")[[1]]
  unknown <- setdiff(given, known)
  if (length(unknown)) {
    stop("no ", what, " ", toString(unknown), "; there are ", toString(known), call. = FALSE)
  }
  intersect(known, given)
}

is_there <- function(package) nzchar(system.file(package = package))

arguments <- commandArgs(TRUE)
rounds <- if (nzchar(arguments[1])) as.integer(arguments[1])
ids <- chosen(arguments[2], works$id, "work")
wanted <- chosen(arguments[3], backends$id, "backend")

there <- vapply(backends$package[match(wanted, backends$id)], is_there, NA)
for (missing in wanted[!there]) {
  message("left out, because its package is not installed: ", missing)
}
present <- wanted[there]

often <- works$often
often[is.na(often)] <- 3L
# What is done once only is so by its length; W5 is done five times unless a number is given.
if (!is.null(rounds)) often[often > 1L] <- rounds

# No backend is always the first.
rotated <- function(x, by) x[(seq_along(x) + by - 2L) %% length(x) + 1L]

for (round in seq_len(max(often[works$id %in% ids]))) {
  for (work in ids[often[match(ids, works$id)] >= round]) {
    for (backend in rotated(participants(work, present), round)) {
      service <- service_of(work, backend)
      cat(round, work, backend, service, works$limit[works$id == work], "\n")
    }
  }
}
