# What Linux knows of processes: how much they ran, how often they woke, who begot whom.

# The ids of the children of `parents`, by name if one is given.
children <- function(parents, name = NULL) {
  ids <- as.integer(grep("^[0-9]+$", list.files("/proc"), value = TRUE))
  stat <- vapply(ids, function(id) {
    lines <- suppressWarnings(tryCatch(readLines(sprintf("/proc/%d/stat", id)), error = identity))
    if (is.character(lines)) lines[1] else ""
  }, "")
  # "12 (name) S 1 ...": the name may hold anything.
  parent <- as.integer(sub("^.*\\) . ([0-9]+) .*$", "\\1", stat))
  named <- is.null(name) | sub("^[0-9]+ \\((.*)\\) .*$", "\\1", stat) %in% name
  ids[parent %in% parents & named]
}

threads <- function() length(list.files("/proc/self/task"))

# The most memory that this process has had, in MB.
peak_memory <- function() {
  line <- grep("^VmHWM", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("\\D", "", line)) * 1024 / 1e6
}
