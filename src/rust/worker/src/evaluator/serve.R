# The loop: requests are taken and answered. The value of this file is the function to call.

take_context <- function(size) {
  load_context(size)
  send("ready")
}
# Half a stream can't be skipped: the worker starts another R process.
refuse <- function(e) if (request_size > long) stop(e) else send("refused", pack(e))
request_size <- 0
serve <- function() {
  frame <- receive()
  request_size <<- frame$size
  if (frame$kind == to_r[["hello"]]) {
    mark <<- rawToChar(take(frame$size))
    send("ready")
  } else if (frame$kind == to_r[["context"]]) {
    tryCatch(take_context(frame$size), error = refuse)
  } else if (frame$kind == to_r[["chunk"]]) {
    run_chunk(frame$size)
  } else {
    leave()
  }
}
# A function of a short name, because R shows the calls that led to a crash.
function() {
  rm(".rustBatch", envir = globalenv())
  # A loop within a task runs in the task's own process.
  setHook(packageEvent("foreach", "onLoad"), function(...) foreach::registerDoSEQ())
  open_pipes()
  connections <<- getAllConnections()
  suspendInterrupts(repeat serve())
}
