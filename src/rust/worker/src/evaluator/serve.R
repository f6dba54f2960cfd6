# The loop: requests are taken and answered. The value of this file is the function to call.

# Says whether the context is loaded.
take_context <- function(context) {
  tryCatch({ load_context(context); send("ready"); TRUE }, error = function(e) { refuse(e); FALSE })
}
# A context and its first chunk, both short, in one request: no time is lost between them. All is read
# before R may ask for an object, which comes through the same pipe.
take_first <- function(size) {
  length <- readBin(requests, "double", 1L)
  context <- read_context(length)
  chunk <- read_chunk(size - 8 - length)
  if (take_context(context)) run_chunk(chunk)
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
    take_context(read_context(frame$size))
  } else if (frame$kind == to_r[["chunk"]]) {
    run_chunk(read_chunk(frame$size))
  } else if (frame$kind == to_r[["first"]]) {
    take_first(frame$size)
  } else if (frame$kind == to_r[["compile"]]) {
    compile_all()
    send("ready")
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
  if (state == "cold") .Internal(enableJIT(0L))
  suspendInterrupts(repeat serve())
}
