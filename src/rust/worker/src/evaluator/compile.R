# When these functions are compiled. All together take R's just-in-time compiler 100 ms, which a
# first loop should not wait for. So at first it compiles only what tasks call; after some hundred
# tasks, what is called for each task; the rest when the worker has nothing to do and asks for it.

jit <- .Internal(enableJIT(-1L))
state <- if (jit > 0L) "cold" else "compiled"
tasks_done <- 0
count_tasks <- function(n) {
  tasks_done <<- tasks_done + n
  if (state == "cold" && tasks_done > 200) {
    compile_these(c("run_tasks", "after_task", "tidy", "evaluate", "own", "restore", "bindings"))
    state <<- "lukewarm"
  }
}
compile_all <- function() {
  if (jit == 0L) return()
  compile_these(Filter(function(name) is.function(here[[name]]), names(here)))
  state <<- "compiled"
  .Internal(enableJIT(jit))
}
here <- environment()
compile_these <- function(names) {
  for (name in names) here[[name]] <- compiler::cmpfun(here[[name]])
}
