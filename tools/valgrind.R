# What valgrind watches: loops of each kind through the boundary between R and Rust, and errors.

suppressPackageStartupMessages(library(rustBatch))

cluster <- makeCluster(2)
registerDoRustBatch(cluster)
large <- sin(seq_len(2e5))
for (k in 1:3) {
  sums <- foreach(i = 1:200, .combine = c) %dopar% (i + 0 * large[1])
  passed <- foreach(i = 1:4, .errorhandling = "pass") %dopar% if (i == 2) stop("no") else i
  told <- suppressMessages(
    foreach(i = iterators::icount(50)) %dopar% {
      message("task ", i)
      list(i, letters)
    }
  )
  stopifnot(identical(sums, 1:200 + 0), inherits(passed[[2]], "error"), length(told) == 50L)
}
for (wrong in list(quote(makeCluster("nope.json")), quote(registerDoRustBatch(1)))) {
  stopifnot(inherits(try(eval(wrong), silent = TRUE), "try-error"))
}
stopCluster(cluster)
invisible(gc())
