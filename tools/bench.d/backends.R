# How each backend is started with two slots and everything at its default. Each function returns
# one that stops it. `port` is that of a Redis, where one runs beside the cell.

slots <- 2L

starts <- list(
  rustBatch = function(port) {
    suppressPackageStartupMessages(library(rustBatch))
    redis <- if (!is.na(port)) paste0("redis://127.0.0.1:", port)
    cluster <- rustBatch::makeCluster(slots, redis = redis)
    registerDoRustBatch(cluster)
    function() rustBatch::stopCluster(cluster)
  },
  sequential = function(port) {
    foreach::registerDoSEQ()
    function() NULL
  },
  fork = function(port) {
    doParallel::registerDoParallel(cores = slots)
    function() NULL
  },
  psock = function(port) {
    cluster <- parallel::makeCluster(slots)
    doParallel::registerDoParallel(cluster)
    function() parallel::stopCluster(cluster)
  },
  doRedis = function(port) {
    doRedis::registerDoRedis("bench", host = "127.0.0.1", port = port)
    doRedis::startLocalWorkers(slots, "bench", host = "127.0.0.1", port = port)
    function() doRedis::removeQueue("bench")
  },
  doFuture = function(port) {
    doFuture::registerDoFuture()
    future::plan(future::multisession, workers = slots)
    function() future::plan(future::sequential)
  },
  mirai = function(port) {
    cluster <- mirai::make_cluster(slots)
    doParallel::registerDoParallel(cluster)
    function() mirai::stop_cluster(cluster)
  },
  clustermq = function(port) {
    options(clustermq.scheduler = "multiprocess")
    pool <- clustermq::workers(slots, reuse = TRUE)
    clustermq::register_dopar_cmq(workers = pool)
    function() pool$cleanup()
  }
)

# The objects of a loop, for the one backend that has to be told them.
named_for <- function(backend, ...) if (backend == "clustermq") c(...)
