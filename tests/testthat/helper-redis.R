# Servers for tests: a real Redis of one's own, and things that only look like one.

free_port <- function() {
  repeat {
    port <- 20000L + as.integer(as.numeric(Sys.time()) * 1e6 %% 1e4) + Sys.getpid() %% 1000L
    free <- tryCatch(serverSocket(port), error = function(e) NULL)
    if (!is.null(free)) {
      close(free)
      return(port)
    }
  }
}

# Starts a Redis that listens on a port until the test ends. Returns the port.
local_redis <- function(..., frame = parent.frame()) {
  skip_without_redis()
  found <- Sys.which(c("redis-server", "valkey-server"))
  port <- free_port()
  pid_file <- tempfile("redis-", fileext = ".pid")
  log <- tempfile("redis-", fileext = ".log")
  settings <- c(
    "--port", port, "--bind", "127.0.0.1", "--save", "''", "--pidfile", pid_file, "--daemonize",
    "yes", "--dir", tempdir(), "--logfile", log, ...
  )
  system2(found[nzchar(found)][1L], settings, stdout = FALSE)
  if (!wait_until(file.exists(pid_file) && length(readLines(pid_file)), 10)) {
    stop("the Redis of the test did not start:\n", paste(readLines(log), collapse = "\n"))
  }
  pid <- as.integer(readLines(pid_file))
  at_end(bquote(tools::pskill(.(pid), 9L)), frame)
  port
}

# What a Redis answers to commands without spaces in their arguments; the last of them counts.
ask_redis <- function(port, ...) {
  connection <- socketConnection(
    "127.0.0.1", port, open = "r+b", blocking = TRUE, timeout = 10
  )
  on.exit(close(connection))
  read <- function() {
    line <- readLines(connection, 1L)
    rest <- substring(line, 2L)
    switch(substr(line, 1L, 1L),
      "-" = stop(rest),
      ":" = as.numeric(rest),
      "$" = if (rest != "-1") readLines(connection, 1L),
      "*" = lapply(seq_len(as.integer(rest)), function(i) read()),
      rest
    )
  }
  for (command in c(...)) {
    writeLines(command, connection, sep = "\r\n")
    answer <- read()
  }
  answer
}

# Starts a process that listens on a port until the test ends, and answers what it is asked by
# `answers`: a list of texts by the first word of the command; "other" answers the rest. Returns the
# port.
local_impostor <- function(answers, frame = parent.frame()) {
  port <- free_port()
  impostor <- start_r(port = port, answers = answers, frame = frame, body = quote({
    server <- serverSocket(port)
    say("ready")
    while (TRUE) {
      client <- socketAccept(server, blocking = TRUE, open = "r+b", timeout = 60)
      # A command is "*2", "$4", "INFO", "$6", "server".
      while (length(line <- readLines(client, 1L))) {
        words <- character()
        if (startsWith(line, "*")) {
          for (i in seq_len(as.integer(substring(line, 2L)))) {
            words <- c(words, readLines(client, 2L)[2L])
          }
        }
        answer <- answers[[toupper(c(words, "other")[1L])]]
        if (is.null(answer)) answer <- answers$other
        writeChar(answer, client, eos = NULL)
        if (!length(words)) break
      }
      close(client)
    }
  }))
  impostor$said("ready")
  port
}

# How Redis words a text.
bulk <- function(text) sprintf("$%d\r\n%s\r\n", nchar(text, "bytes"), text)
