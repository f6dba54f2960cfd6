# Clusters for one test each, and tests that stand where a user stands.

skip_without_redis <- function() {
  testthat::skip_on_cran()
  found <- nzchar(Sys.which(c("redis-server", "valkey-server")))
  testthat::skip_if_not(any(found), "there is no redis-server")
}

# Evaluates `code` when `frame` is left, the test or function that called.
at_end <- function(code, frame = parent.frame(2L)) {
  do.call(on.exit, list(code, add = TRUE, after = FALSE), envir = frame)
}

# A cluster that %dopar% uses until the test ends.
local_cluster <- function(workers = 2, ..., frame = parent.frame()) {
  skip_without_redis()
  cluster <- makeCluster(workers, ...)
  at_end(bquote(rustBatch::stopCluster(.(cluster))), frame)
  at_end(quote(foreach::registerDoSEQ()), frame)
  registerDoRustBatch(cluster)
  cluster
}

# A test whose loops stand in a user's code: what they do not find in the test they look for in the
# global environment, not in the namespace of this package, which testthat's environment copies.
test_as_user <- function(what, code) {
  room <- new.env(parent = globalenv())
  for (env in list(environment(test_as_user), parent.frame())) {
    names <- setdiff(ls(env), ls(asNamespace("rustBatch")))
    list2env(mget(names, envir = env), room)
  }
  eval(as.call(list(quote(testthat::test_that), what, substitute(code))), room)
}

# Waits until `condition` holds; says whether it does. The only way in which tests wait.
wait_until <- function(condition, seconds) {
  condition <- substitute(condition)
  frame <- parent.frame()
  deadline <- Sys.time() + seconds
  repeat {
    if (isTRUE(eval(condition, frame))) {
      return(TRUE)
    }
    if (Sys.time() > deadline) {
      return(FALSE)
    }
    Sys.sleep(0.02)
  }
}

seconds <- function(code) system.time(code)[["elapsed"]]

chunks_of <- function(n) list(chunkSize = n)

# The R processes that run tasks.
pids <- function() {
  sort(unique(foreach(1:20, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
    Sys.sleep(0.05)
    Sys.getpid()
  }))
}

# What was signalled while `code` ran, in its order, each as "class: message".
signals <- function(code) {
  said <- character()
  note <- function(class, condition) {
    said <<- c(said, paste0(class, ": ", sub("\n$", "", conditionMessage(condition))))
  }
  withCallingHandlers(
    code,
    message = function(m) {
      note("message", m)
      invokeRestart("muffleMessage")
    },
    warning = function(w) {
      note("warning", w)
      invokeRestart("muffleWarning")
    }
  )
  said
}
