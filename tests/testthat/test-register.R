# What %dopar% is told of a cluster.

test_as_user("foreach knows name, version and slots of a registered cluster", {
  local_cluster(3)
  expect_identical(getDoParName(), "doRustBatch")
  expect_identical(getDoParVersion(), as.character(packageVersion("rustBatch")))
  expect_identical(getDoParWorkers(), 3L)
  expect_true(getDoParRegistered())
})

test_as_user("registerDoRustBatch() returns its cluster, invisibly", {
  cluster <- local_cluster(1)
  expect_invisible(registered <- registerDoRustBatch(cluster))
  expect_identical(registerDoRustBatch(cluster), cluster)
})

test_as_user("a cluster goes on when another is registered", {
  first <- local_cluster(1)
  second <- local_cluster(2)
  expect_identical(getDoParWorkers(), 2L)
  registerDoRustBatch(first)
  expect_identical(getDoParWorkers(), 1L)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
  stopCluster(first)
  registerDoRustBatch(second)
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
})

test_as_user("only a cluster can be registered", {
  before <- getDoParName()
  refused <- function(x, what) {
    error <- expect_error(registerDoRustBatch(x), class = "rustBatch_error_cluster")
    expect_match(conditionMessage(error), what, fixed = TRUE)
    expect_match(conditionMessage(error), "makeCluster()", fixed = TRUE)
  }
  refused(NULL, "NULL")
  refused(list(1), "class `list`")
  refused(4, "class `numeric`")
  refused("cluster.json", "class `character`")
  refused(structure(list(), class = c("SOCKcluster", "cluster")), "package `parallel`")
  expect_identical(getDoParName(), before)
})

test_as_user("a stopped cluster can't be registered, and runs no loop", {
  cluster <- local_cluster(1)
  stopCluster(cluster)
  expect_error(registerDoRustBatch(cluster), class = "rustBatch_error_closed")
  error <- expect_error(foreach(1) %dopar% 1, class = "rustBatch_error_closed")
  expect_match(conditionMessage(error), "has been stopped")
  # What only asks goes on answering.
  expect_identical(getDoParWorkers(), 1L)
})

test_as_user("a cluster from saveRDS() is a cluster of another session", {
  cluster <- local_cluster(1)
  file <- tempfile()
  saveRDS(cluster, file)
  expect_identical(capture.output(saved <- readRDS(file), print(saved$pointer)), "<pointer: (nil)>")
  expect_output(print(saved), "of an R session that has ended")
  expect_null(stopCluster(saved))
  expect_error(registerDoRustBatch(saved), class = "rustBatch_error_closed")
  expect_identical(foreach(i = 1:3, .combine = c) %dopar% i, 1:3)
  # As when a session was saved whole, registration included.
  foreach::setDoPar(rustBatch:::dopar, saved, rustBatch:::dopar_info)
  expect_error(foreach(1) %dopar% 1, class = "rustBatch_error_closed")
})
