# Ctrl-C while a cluster in containers starts, and while it stops.

# A script that waits for a cluster of this name, which never comes, and is interrupted when its
# worker has begun.
interrupted_script <- function(name, code, frame = parent.frame()) {
  skip_without_docker()
  spec <- in_docker(1, name = name, commandLine = "sleep 300")
  script <- tempfile(fileext = ".R")
  writeLines(c(
    ".libPaths(commandArgs(TRUE)[1]); suppressMessages(library(rustBatch))",
    paste("spec <-", paste(deparse(spec), collapse = "")),
    code
  ), script)
  rscript <- file.path(R.home("bin"), "Rscript")
  library <- dirname(system.file(package = "rustBatch"))
  out <- tempfile()
  command <- sprintf("'%s' '%s' '%s' > '%s' 2>&1 & echo $!", rscript, script, library, out)
  pid <- as.integer(system(command, intern = TRUE))
  at_end(bquote(tools::pskill(.(pid), 9L)), frame)
  ours <- function() grep(paste0("^", name, "-"), getClusterList()$cluster, value = TRUE)
  expect_true(wait_until(length(unlist(lapply(ours(), workers_of))) == 1L, 60))
  tools::pskill(pid, 2L)
  list(pid = pid, ours = ours, said = function() readLines(out))
}

test_as_user("a start that is interrupted leaves nothing, and waits for no gc()", {
  script <- interrupted_script("cut-short", c(
    "said <- tryCatch(makeCluster(spec), interrupt = function(i) 'interrupted')",
    "cat(said, '\\n')",
    "Sys.sleep(40)"
  ))
  expect_true(wait_until(length(script$ours()) == 0L, 30))
  expect_true("interrupted " %in% script$said())
})

test_as_user("a script that is interrupted in a start leaves nothing when it has ended", {
  script <- interrupted_script("cut-off", "makeCluster(spec)")
  expect_true(wait_until(length(alive(script$pid)) == 0L, 60))
  expect_identical(script$ours(), character())
})

# Code that interrupts the R process that evaluates it, in half a second.
interrupt_soon <- quote(system(sprintf("(sleep 0.5; kill -INT %d) &", Sys.getpid())))

test_as_user("a stop that is interrupted goes on, and the next one says how it ended", {
  cluster <- local_docker(1)
  id <- id_of(cluster)
  refuses <- local_slow_docker()
  interrupted <- function() {
    eval(interrupt_soon)
    tryCatch(stopCluster(cluster), interrupt = function(i) "interrupted")
  }
  file.create(refuses)
  expect_identical(interrupted(), "interrupted")
  expect_match(format(cluster)[1], ": being stopped")
  error <- expect_error(stopCluster(cluster), class = "rustBatch_error_provision")
  expect_match(conditionMessage(error), "not now")
  expect_match(format(cluster)[1], ": could not be stopped")
  expect_false(nothing_left(id))
  unlink(refuses)
  expect_identical(interrupted(), "interrupted")
  expect_false(nothing_left(id))
  stopCluster(cluster)
  expect_true(nothing_left(id))
  expect_match(format(cluster)[1], ": stopped")
})

test_as_user("R's end waits for a stop that was interrupted, and tries one again that failed", {
  skip_without_docker()
  for (fails in c(FALSE, TRUE)) {
    refuses <- local_slow_docker()
    if (fails) file.create(refuses)
    client <- start_r(spec = in_docker(1), soon = interrupt_soon, refuses = refuses, body = quote({
      cluster <- suppressMessages(makeCluster(spec))
      say("id", rustBatch:::cluster_describe(cluster$pointer)$id)
      eval(soon)
      tryCatch(stopCluster(cluster), interrupt = function(i) say("interrupted"))
      while (file.exists(refuses) && grepl("being stopped", format(cluster)[1])) Sys.sleep(0.1)
      unlink(refuses)
    }))
    id <- client$said("id", 60)
    client$said("interrupted")
    expect_true(wait_until(length(alive(client$pid)) == 0L, 60))
    expect_true(nothing_left(id))
  }
})
