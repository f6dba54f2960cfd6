# The value of `body` in an R process of its own that has loaded rustBatch. The variables of `body`
# come from `...`. A process that hangs or dies is an error with what it said.
in_fresh_r <- function(body, ..., timeout = 60) {
  task <- tempfile("task-", fileext = ".rds")
  answer <- tempfile("answer-", fileext = ".rds")
  on.exit(unlink(c(task, answer)))
  saveRDS(list(body = substitute(body), variables = list(...), libraries = .libPaths()), task)
  script <- c(
    "files <- commandArgs(TRUE)",
    "task <- readRDS(files[1])",
    ".libPaths(task$libraries)",
    "threads <- function() length(list.files('/proc/self/task'))",
    "threads_before <- threads()",
    "suppressPackageStartupMessages(library(rustBatch))",
    "room <- list2env(task$variables, parent = asNamespace('rustBatch'))",
    "assign('threads', threads, room)",
    "assign('threads_before', threads_before, room)",
    "environment(room$threads) <- room",
    "saveRDS(eval(task$body, room), files[2])"
  )
  said <- suppressWarnings(system2(
    file.path(R.home("bin"), "Rscript"),
    c("--vanilla", "-e", shQuote(paste(script, collapse = "\n")), task, answer),
    stdout = TRUE,
    stderr = TRUE,
    timeout = timeout
  ))
  if (!file.exists(answer)) {
    stop("the R process had no answer:\n", paste(said, collapse = "\n"))
  }
  readRDS(answer)
}

skip_without_proc <- function() {
  testthat::skip_if_not(dir.exists("/proc/self/task"), "there is no /proc")
}
