# A Redis that may be asked, without a package for it.

redis_ask <- function(port, command) {
  connection <- socketConnection("127.0.0.1", port, open = "r+b", blocking = TRUE, timeout = 10)
  on.exit(close(connection))
  # The server closes after QUIT, so that the end of the answer is seen.
  writeLines(c(command, "QUIT"), connection, sep = "\r\n")
  readLines(connection, warn = FALSE)
}

# The numbers of INFO, by name.
redis_info <- function(port) {
  lines <- sub("\r$", "", redis_ask(port, "INFO"))
  lines <- grep("^[a-z_]+:[0-9]+([.][0-9]+)?$", lines, value = TRUE)
  stats::setNames(as.numeric(sub(".*:", "", lines)), sub(":.*", "", lines))
}

# The median of 20,000 round trips, in milliseconds.
redis_round_trip <- function(port) {
  arguments <- c("-p", port, "-c", "1", "-n", "20000", "-t", "ping_mbulk", "--csv")
  lines <- suppressWarnings(system2("redis-benchmark", arguments, stdout = TRUE, stderr = FALSE))
  utils::read.csv(text = lines)$p50_latency_ms[1]
}
