# Starting, idling, being far away; and what there is without any loop.

work_w0 <- function(backend, port) {
  # The client has two children: one that keeps Redis, and the worker, whose children are R.
  ours <- children(Sys.getpid())
  keeper <- Filter(function(one) length(children(one, c("redis-server", "valkey-server"))), ours)
  parts <- list(client = Sys.getpid(), worker = setdiff(ours, keeper))
  parts$r <- children(parts$worker)
  parts$redis <- c(keeper, children(keeper))
  check(lengths(parts)[["worker"]] == 1L && length(parts$r) == slots)
  groups <- paste0(names(parts), "=", vapply(parts, paste, "", collapse = ","))
  # While that runs, this process waits for it and does nothing.
  rscript <- file.path(R.home("bin"), "Rscript")
  lines <- system2(rscript, c("tools/bench.d/idle.R", groups), stdout = TRUE)
  stats::setNames(as.numeric(sub(".*=", "", lines)), sub("=.*", "", lines))
}

work_w7 <- function(backend, port) {
  package <- backends$package[backends$id == backend]
  suppressPackageStartupMessages({
    library(foreach)
    library(package, character.only = TRUE)
  })
  time <- seconds({
    stop_it <- starts[[backend]](port)
    value <- foreach(i = 7) %dopar% i
  })
  stop_it()
  check(identical(value, list(7)))
  c(time = time)
}

# `port` is that of the proxy.
work_w8 <- function(backend, port) {
  n <- fewer(1000L, backend)
  time <- seconds(
    values <- foreach(i = seq_len(n), .combine = c) %dopar% {
      Sys.sleep(0.001)
      i
    }
  )
  check(identical(values, seq_len(n)))
  c(task = 1000 * time / n)
}

work_p <- function(backend, port) {
  before <- threads()
  time <- system.time(suppressPackageStartupMessages(library(rustBatch)), FALSE)[["elapsed"]]
  after <- threads()
  files <- c(
    getLoadedDLLs()[["rustBatch"]][["path"]],
    system.file("bin", "rustbatch-worker", package = "rustBatch", mustWork = TRUE)
  )
  symbols <- vapply(files, function(file) {
    length(suppressWarnings(system2("nm", shQuote(file), stdout = TRUE, stderr = FALSE)))
  }, 0L)
  size <- file.size(files) / 1e6
  c(
    load = time, threads = after - before, library = size[1], worker = size[2],
    symbols = sum(symbols)
  )
}

# What no backend can beat.
work_l <- function(backend, port) {
  suppressPackageStartupMessages(library(foreach))
  numbers <- numbers(12.5e6)
  serialize <- seconds(bytes <- serialize(numbers, NULL, xdr = FALSE))
  unserialize <- seconds(back <- unserialize(bytes))
  check(identical(back, numbers))
  n <- 10000L
  it <- iterators::iter(foreach(i = seq_len(n)))
  iterate <- seconds(values <- as.list(it))
  accumulator <- makeAccum(it)
  accumulate <- seconds(accumulator(lapply(values, `[[`, "i"), seq_len(n)))
  check(identical(getResult(it), as.list(seq_len(n))))
  pipe <- seconds(system("head -c 1000000000 /dev/zero | cat >/dev/null")) / 10
  c(
    serialize = serialize, unserialize = unserialize, pipe = pipe, redis = redis_round_trip(port),
    iterate = iterate, accumulate = accumulate
  )
}
