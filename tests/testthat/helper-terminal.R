# An R at a terminal of its own, by the `script` of util-linux, until the test ends.
local_terminal <- function(frame = parent.frame()) {
  found <- Sys.which("script")
  known <- nzchar(found) &&
    any(grepl("util-linux", suppressWarnings(system2(found, "--version", stdout = TRUE))))
  testthat::skip_if_not(known, "there is no `script` of util-linux")
  screen <- tempfile("screen-")
  r <- paste(file.path(R.home("bin"), "R"), "--vanilla --quiet --no-readline")
  keyboard <- pipe(sprintf("%s -qfc '%s' /dev/null > '%s' 2>&1", found, r, screen), "w")
  at_end(bquote(close(.(keyboard))), frame)
  at_end(bquote(cat("\003\nq('no')\n", file = .(keyboard))), frame)
  seen <- 0
  all <- function() readChar(screen, file.size(screen), useBytes = TRUE)
  terminal <- list(
    type = function(line) terminal$press(paste0(line, "\n")),
    press = function(keys) {
      cat(keys, file = keyboard)
      flush(keyboard)
    },
    # Looks from now on at what comes from now on.
    forget = function() seen <<- file.size(screen),
    shows = function(text) grepl(text, substring(all(), seen + 1), fixed = TRUE, useBytes = TRUE)
  )
  if (!wait_until(file.exists(screen) && terminal$shows("> "), 10)) stop("there is no prompt")
  terminal
}
