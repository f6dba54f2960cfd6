# When these functions are compiled. It takes R's just-in-time compiler 50 ms, which a first loop
# should not wait for: at first it compiles only what tasks call, until the worker has nothing to do and
# asks for the rest, or so many tasks have run that it pays.

jit <- .Internal(enableJIT(-1L))
is_cold <- jit > 0L
cold_tasks <- 0
count_tasks <- function(n) {
  cold_tasks <<- cold_tasks + n
  if (is_cold && cold_tasks > 2000) warm_up()
}
warm_up <- function() {
  own <- environment(warm_up)
  for (name in names(own)) {
    if (is.function(own[[name]])) own[[name]] <- compiler::cmpfun(own[[name]])
  }
  is_cold <<- FALSE
  .Internal(enableJIT(jit))
}
