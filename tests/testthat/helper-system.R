# Processes as the system sees them.

# The processes that run, without those that ended and wait for their parent.
processes <- function() {
  testthat::skip_if_not(nzchar(Sys.which("ps")), "there is no ps")
  lines <- system2("ps", c("-A", "-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "args="),
    stdout = TRUE, env = "LC_ALL=C"
  )
  parts <- regmatches(lines, regexec("^ *([0-9]+) +([0-9]+) +(\\S+) +(.*)$", lines))
  parts <- parts[lengths(parts) == 5L]
  column <- function(i) vapply(parts, `[[`, "", i)
  all <- data.frame(
    pid = as.integer(column(2L)), parent = as.integer(column(3L)), command = column(5L)
  )
  all[!startsWith(column(4L), "Z"), ]
}

# The processes of clusters that were started below `pid`: workers, R processes, servers.
cluster_processes <- function(pid = Sys.getpid()) {
  all <- processes()
  found <- all$pid[all$parent %in% pid & grepl("rustbatch-worker", all$command, fixed = TRUE)]
  repeat {
    more <- union(found, all$pid[all$parent %in% found])
    if (length(more) == length(found)) {
      return(more)
    }
    found <- more
  }
}

# The `rustbatch-worker` below `pid` that works, not the one that supervises the server.
worker_process <- function(pid = Sys.getpid()) {
  intersect(running("rustbatch-worker work"), cluster_processes(pid))
}

alive <- function(pids) intersect(pids, processes()$pid)

# The processes whose command line has this text in it.
running <- function(text) {
  all <- processes()
  all$pid[grepl(text, all$command, fixed = TRUE)]
}

# The folder of the private server of a cluster.
server_folder <- function(cluster) {
  dirname(sub("^unix:", "", cluster_describe(cluster$pointer)$server))
}

expect_gone <- function(pids, within = 5) {
  testthat::expect_true(length(pids) > 0L)
  gone <- wait_until(length(alive(pids)) == 0L, within)
  left <- if (!gone) processes()
  left <- left[left$pid %in% pids, ]
  testthat::expect_true(gone, info = paste(left$pid, left$parent, left$command, collapse = "\n"))
}

# Starts an R script of its own that has loaded rustBatch, and goes on. `body` is its code, quoted;
# its variables come from `...`. Its `say()` writes a value that `said()` here reads.
start_r <- function(body, ..., frame = parent.frame()) {
  files <- list(script = tempfile("script-"), task = tempfile("task-"), log = tempfile("log-"))
  task <- list(variables = list(...), libraries = .libPaths(), answer = tempfile("said-"))
  saveRDS(task, files$task)
  writeLines(c(
    sprintf("task <- readRDS(%s)", deparse(files$task)),
    ".libPaths(task$libraries)",
    "suppressPackageStartupMessages(library(rustBatch))",
    "list2env(task$variables, globalenv())",
    "say <- function(name, value = TRUE) {",
    "  file <- paste0(task$answer, name)",
    "  saveRDS(value, paste0(file, '.new')); file.rename(paste0(file, '.new'), file)",
    "}",
    "tree <- function() {",
    "  all <- strsplit(trimws(system('ps -A -o pid= -o ppid=', intern = TRUE)), ' +')",
    "  all <- matrix(as.integer(unlist(all)), nrow = 2L)",
    "  found <- Sys.getpid()",
    "  for (i in 1:9) found <- union(found, all[1L, all[2L, ] %in% found])",
    "  found",
    "}",
    "say('pid', Sys.getpid())",
    deparse(body)
  ), files$script)
  system2(file.path(R.home("bin"), "Rscript"), c("--vanilla", shQuote(files$script)),
    stdout = files$log, stderr = files$log, wait = FALSE
  )
  told <- function(name) paste0(task$answer, name)
  process <- list(
    task = files$task,
    said = function(name, within = 30) {
      if (!wait_until(file.exists(told(name)), within)) {
        stop("the script did not say `", name, "`:\n", paste(readLines(files$log), collapse = "\n"))
      }
      readRDS(told(name))
    },
    has_said = function(name) file.exists(told(name)),
    log = function() readLines(files$log, warn = FALSE)
  )
  process$pid <- process$said("pid")
  at_end(bquote(tools::pskill(.(process$pid), 9L)), frame)
  process
}
