# The random numbers of a loop: one draw on the client, then a stream for each task. Stream 1 is
# L'Ecuyer's generator seeded with the draw, stream k + 1 is parallel::nextRNGStream() of stream k;
# the jump to a task's stream is made in Rust.

# The state of the first stream with its leading code for the kinds, or NULL when the user does not
# want streams. The session's generator moves on by one draw.
loop_seed <- function() {
  if (identical(getOption("rustBatch.seed", "iteration"), "none")) {
    return(NULL)
  }
  draw <- sample.int(.Machine$integer.max, 1L)
  session <- get(".Random.seed", envir = globalenv(), inherits = FALSE)
  on.exit(assign(".Random.seed", session, envir = globalenv()))
  RNGkind("L'Ecuyer-CMRG")
  set.seed(draw)
  get(".Random.seed", envir = globalenv(), inherits = FALSE)
}
