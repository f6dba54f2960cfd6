# Tasks whose data are large. All numbers have a full mantissa, so that no compression makes less of
# them.

numbers <- function(n) sin(seq_len(n))

# 100 MB in 5,000 columns.
make_matrix <- function() matrix(numbers(12.5e6), ncol = 5000)

use_matrix <- function(big, backend) {
  foreach(i = 1:20, .combine = c, .export = named_for(backend, "big")) %dopar% sum(big[, i])
}

work_w3 <- function(backend, port) {
  big <- make_matrix()
  first <- seconds(sums <- use_matrix(big, backend))
  again <- seconds(sums_again <- use_matrix(big, backend))
  sums_before <- colSums(big[, 1:20])
  big[1, 1] <- 1000
  changed <- seconds(sums_changed <- use_matrix(big, backend))
  check(all.equal(unlist(sums), sums_before))
  check(identical(sums_again, sums))
  check(all.equal(unlist(sums_changed), colSums(big[, 1:20])))
  c(first = first, again = again, changed = changed)
}

# The same over a Redis that can be asked.
work_w3r <- function(backend, port) {
  big <- make_matrix()
  sums <- use_matrix(big, backend)
  before <- redis_info(port)
  again <- use_matrix(big, backend)
  after <- redis_info(port)
  check(identical(again, sums))
  big[1, 1] <- 1000
  check(all.equal(use_matrix(big, backend), colSums(big[, 1:20])))
  c(
    sent = (after[["total_net_input_bytes"]] - before[["total_net_input_bytes"]]) / 1e6,
    peak = after[["used_memory_peak"]] / 1e6,
    peak_changed = redis_info(port)[["used_memory_peak"]] / 1e6
  )
}

# `n` results of `size` numbers each.
large_results <- function(n, size, backend) {
  base <- numbers(size)
  time <- seconds(
    values <- foreach(i = seq_len(n), .export = named_for(backend, "base")) %dopar% (base * i)
  )
  check(length(values) == n)
  check(all(vapply(seq_len(n), function(i) identical(values[[i]], base * i), NA)))
  time
}

work_w4 <- function(backend, port) {
  n <- fewer(1000L, backend)
  c(
    small = large_results(n, 12500, backend) * 1000 / n,
    large = large_results(20L, 1.25e6, backend)
  )
}

work_w4r <- function(backend, port) {
  large_results(1000L, 12500, backend)
  small <- redis_info(port)[["used_memory_peak"]]
  large_results(20L, 1.25e6, backend)
  c(peak_small = small, peak = redis_info(port)[["used_memory_peak"]]) / 1e6
}
