# What the worker takes for R in a test: it writes what a task says and the answer at once.

requests <- file("/dev/fd/3", "rb", raw = TRUE)
answers <- file("/dev/fd/4", "wb", raw = TRUE)
request <- 0L
frame <- function(kind, payload = raw()) {
  head <- writeBin(c(kind, request, Sys.getpid(), 0L), raw())
  c(head, writeBin(as.double(length(payload)), raw()), payload)
}
repeat {
  head <- readBin(requests, "integer", 2L)
  if (length(head) < 2L) break
  request <- head[2L]
  none <- readBin(requests, "raw", readBin(requests, "double", 1L))
  ready <- frame(1L)
  run <- function() c(frame(6L, charToRaw("the last word")), frame(3L))
  # Hello and compile are answered like a context.
  writeBin(switch(head[1L], ready, ready, ready, run(), c(ready, run()), ready), answers)
  flush(answers)
}
