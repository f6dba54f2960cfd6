# Tasks that do nothing: throughput and latency.

# One that needs 100 ms for a chunk and sends each task alone gets a twentieth of the tasks.
fewer <- function(n, backend) if (backend == "doRedis") n %/% 20L else n

work_w1 <- function(backend, port) {
  n <- fewer(10000L, backend)
  time <- seconds(values <- foreach(i = seq_len(n)) %dopar% i)
  check(is.list(values) && identical(as.integer(unlist(values)), seq_len(n)))
  c(time = time * 10000 / n)
}

work_w1c <- function(backend, port) {
  n <- fewer(10000L, backend)
  times <- c(
    c = seconds(joined <- foreach(i = seq_len(n), .combine = c) %dopar% i),
    plus = seconds(total <- foreach(i = seq_len(n), .combine = "+") %dopar% i),
    unknown = seconds(values <- foreach(i = iterators::icount(n)) %dopar% i)
  )
  check(identical(joined, seq_len(n)))
  check(total == n * (n + 1) / 2)
  check(is.list(values) && all(unlist(values) == seq_len(n)))
  times * 10000 / n
}

work_w1m <- function(backend, port) {
  few <- stats::median(replicate(5, seconds(foreach(i = 1:10000) %dopar% i)))
  time <- seconds(values <- foreach(i = 1:1000000) %dopar% i)
  memory <- peak_memory()
  check(is.list(values) && identical(unlist(values), 1:1000000))
  c(time = time, growth = time / few / 100, memory = memory)
}

# 300 of them, or as many as 8 s hold.
work_w2 <- function(backend, port) {
  times <- numeric()
  end <- now() + 8
  while (length(times) < 300L && now() < end) {
    start <- now()
    value <- foreach(i = length(times)) %dopar% i
    times <- c(times, now() - start)
    check(identical(value[[1]], length(times) - 1L))
  }
  stats::setNames(1000 * stats::quantile(times, c(0.5, 0.99)), c("p50", "p99"))
}
