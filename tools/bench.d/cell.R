# One cell: does one work on one backend in this fresh R process, checks the result, and appends
# what it measured to a CSV. Called by tools/bench with the round, the work, the backend, the port
# of a Redis (or "NA"), and the file.

for (file in c("catalogue", "backends", "process", "redis", "tasks", "data", "fits", "life")) {
  source(sprintf("tools/bench.d/%s.R", file))
}

# Not right is not fast.
check <- function(right) {
  if (!isTRUE(right)) stop("wrong result: ", deparse(substitute(right))[1], call. = FALSE)
}

now <- function() as.numeric(Sys.time())

seconds <- function(expr) {
  gc(FALSE)
  start <- now()
  force(expr)
  now() - start
}

# These begin before there is a backend; all others find it warm.
unstarted <- c("L", "P", "W7")

# Two loops, so that each process has answered and R has compiled what it compiles early.
warm_up <- function() {
  for (k in 1:2) foreach(i = 1:10) %dopar% i
  # What a backend still does behind its first answer is part of its start, which W7 measures.
  Sys.sleep(0.5)
}

measure <- function(work, backend, port) {
  run <- get(paste0("work_", tolower(work)))
  if (work %in% unstarted) {
    return(run(backend, port))
  }
  suppressPackageStartupMessages(library(foreach))
  stop_it <- starts[[backend]](port)
  on.exit(stop_it())
  warm_up()
  run(backend, port)
}

arguments <- commandArgs(TRUE)
port <- suppressWarnings(as.integer(arguments[4]))
values <- tryCatch(
  measure(arguments[2], arguments[3], port),
  error = function(e) gsub("[\",\n]+", " ", conditionMessage(e))
)
failed <- is.character(values)
rows <- data.frame(
  round = arguments[1], work = arguments[2], backend = arguments[3],
  metric = if (failed) "" else names(values),
  value = if (failed) NA else signif(as.numeric(values), 6),
  failure = if (failed) values else ""
)
utils::write.table(
  rows, arguments[5],
  append = TRUE, sep = ",", quote = FALSE, row.names = FALSE, col.names = FALSE, na = ""
)
