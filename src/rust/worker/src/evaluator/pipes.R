# The pipes to the worker. The evaluator is plain base R that evaluates what the worker sends it: it
# reads framed requests from descriptor 3 and writes framed answers to descriptor 4, one request in
# flight. The files of this folder are put together by `evaluator.rs`, in an environment of their own
# above base R, so that a task can neither see them nor get in their way.
#
# A frame to R:   integer kind, integer request, double length, payload.
# A frame from R: integer kind, integer request, integer pid, integer 0, double length, payload; with
# length -1 the payload ends with the secret of the marks.

to_r <- c(
  hello = 1L, context = 2L, object = 3L, chunk = 4L, first = 5L, compile = 6L, file = 7L
)
from_r <- c(ready = 1L, need = 2L, done = 3L, refused = 4L, interrupted = 5L, signal = 6L)
pid <- Sys.getpid()
request <- 0L
mark <- ""

requests <- answers <- NULL
# Standard output and error past the sinks that a task may have set.
out <- err <- NULL
own <- function(connection) {
  now <- tryCatch(getConnection(as.integer(connection)), error = function(e) NULL)
  !is.null(now) && identical(attr(now, "conn_id"), attr(connection, "conn_id"))
}
# A task may have closed all connections; another may have the number of ours by now.
open_pipes <- function() {
  if (is.null(requests) || !own(requests)) requests <<- file("/dev/fd/3", "rb", raw = TRUE)
  if (is.null(answers) || !own(answers)) answers <<- file("/dev/fd/4", "wb", raw = TRUE)
  if (is.null(out) || !own(out)) out <<- file("/dev/fd/1", "wb", raw = TRUE)
  if (is.null(err) || !own(err)) err <<- file("/dev/fd/2", "wb", raw = TRUE)
}
receive <- function() {
  head <- readBin(requests, "integer", 2L)
  # The worker is gone: nothing is left to do, and nobody to tell.
  if (length(head) < 2L) leave()
  request <<- head[2L]
  list(kind = head[1L], size = readBin(requests, "double", 1L))
}
# More than 2^31 - 1 bytes can be neither read nor written in one call, so what is long goes
# through the pipe as a stream.
long <- 2^30
take <- function(size) readBin(requests, "raw", size)
# A function that reads one value of `size` bytes: what is long waits in the pipe until then.
value_of <- function(size) {
  if (size > long) return(function(hook = NULL) unserialize(requests, hook))
  bytes <- take(size)
  function(hook = NULL) unserialize(bytes, hook)
}
take_value <- function(size) value_of(size)()
read_file <- function(path) {
  from <- file(path, "rb", raw = TRUE)
  on.exit(close(from))
  unserialize(from)
}
begin <- function(kind, size) {
  # A forked child of a task must not answer in its parent's place.
  if (Sys.getpid() != pid) leave()
  open_pipes()
  writeBin(c(from_r[[kind]], request, pid, 0L), answers)
  writeBin(as.double(size), answers)
}
send <- function(kind, bytes = raw()) {
  begin(kind, length(bytes))
  writeBin(bytes, answers)
  flush(answers)
}
# The end of a stream is known by the secret that the marks have.
send_long <- function(kind, value) {
  begin(kind, -1)
  serialize(value, answers, xdr = FALSE)
  writeBin(charToRaw(mark), answers)
  flush(answers)
}
leave <- function() tools::pskill(Sys.getpid(), 9L)
pack <- function(value) serialize(value, NULL, xdr = FALSE)
