# The export cache is never wrong: an object is used, changed by every way there is, and used again;
# what the tasks saw is what they see on a PSOCK cluster, which sends everything anew.

# Two loops over an object that `make` makes, with `change` between them, which returns the object
# to use from then on, or changes it where it is and returns NULL. Returns what `look` saw in both.
two_loops <- function(make, change, look) {
  x <- make()
  first <- foreach(i = 1:3) %dopar% look(x)
  changed <- change(x)
  if (!is.null(changed)) x <- changed
  second <- foreach(i = 1:3) %dopar% look(x)
  list(first, second)
}

# Runs the two loops here and on PSOCK, and says what the tasks saw.
expect_same_as_psock <- function(make, change, look, differs = TRUE) {
  here <- two_loops(make, change, look)
  there <- with_psock(two_loops(make, change, look))
  testthat::expect_identical(here, there)
  testthat::expect_identical(!identical(here[[1]], here[[2]]), differs)
}

with_psock <- function(code) {
  testthat::skip_if_not_installed("doParallel")
  before <- foreach::getDoParName()
  cluster <- parallel::makeCluster(2)
  on.exit(parallel::stopCluster(cluster))
  ours <- foreach:::.foreachGlobals
  kept <- mget(c("fun", "data", "info"), envir = ours)
  on.exit(list2env(kept, ours), add = TRUE)
  doParallel::registerDoParallel(cluster)
  code
}

# Long enough to travel as an export of its own.
long <- function(x) rep(x, length.out = 3e4)

test_as_user("what holds an environment is sent as it is now", {
  local_cluster(2)
  counter <- function() {
    n <- long(1)
    function() n[1]
  }
  expect_same_as_psock(
    function() list2env(list(n = long(1)), parent = globalenv()),
    function(e) {
      e$n[2] <- 5
      NULL
    },
    function(e) e$n[1:3]
  )
  expect_same_as_psock(
    counter,
    function(f) {
      environment(f)$n[1] <- 7
      NULL
    },
    function(f) f()
  )
  # Compiled in between, it does the same.
  expect_same_as_psock(
    counter,
    function(f) {
      for (k in 1:3) f()
      compiler::cmpfun(f)
    },
    function(f) f(),
    differs = FALSE
  )
  # One that is compiled, then changed.
  expect_same_as_psock(
    function() compiler::cmpfun(counter()),
    function(f) {
      body(f) <- quote(-n[1])
      f
    },
    function(f) f()
  )
})

test_as_user("objects of S4 and R5 are sent as they are now", {
  local_cluster(2)
  at_end(quote({
    removeClass("CacheS4", where = globalenv())
    removeClass("CacheR5", where = globalenv())
  }))
  setClass("CacheS4", slots = c(n = "numeric"), where = globalenv())
  generator <- setRefClass("CacheR5", fields = list(n = "numeric"), where = globalenv())
  expect_same_as_psock(
    function() new("CacheS4", n = long(1)),
    function(x) {
      x@n[2] <- 3
      x
    },
    function(x) x@n[1:3]
  )
  expect_same_as_psock(
    function() generator$new(n = long(1)),
    function(x) {
      x$n <- long(2)
      NULL
    },
    function(x) x$n[1]
  )
})

test_as_user("external pointers arrive without what they point at, as everywhere", {
  local_cluster(2)
  expect_same_as_psock(
    function() {
      pointer <- asNamespace("stats")$C_rnorm$address
      list(pointer = pointer, n = long(1))
    },
    function(x) {
      x$n[1] <- 2
      x
    },
    function(x) list(typeof(x$pointer), format(x$n[1]))
  )
})

test_as_user("plain data is sent again when its bytes, type or attributes are others", {
  local_cluster(2)
  see <- function(x) list(typeof(x), 1 / as.numeric(x[1]), attributes(x))
  others <- list(
    zero = list(long(0), long(-0)),
    missing = list(long(NA_real_), long(NaN)),
    logical = list(long(1L), long(TRUE)),
    double = list(long(1L), long(1)),
    dim = list(long(1), matrix(long(1), 2)),
    names = list(long(1), stats::setNames(long(1), long("a"))),
    levels = list(factor(long(c("1", "2"))), factor(long(c("1", "2")), levels = c("2", "1"))),
    class = list(long(1), structure(long(1), class = "units"))
  )
  for (pair in others) {
    expect_same_as_psock(function() pair[[1]], function(x) pair[[2]], see)
  }
  expect_same_as_psock(
    function() seq_len(3e4), function(x) x + 0L, function(x) sum(x), differs = FALSE
  )
  texts <- list(long("\u00e9"), long(iconv("\u00e9", "UTF-8", "latin1")))
  expect_same_as_psock(
    function() texts[[1]], function(x) texts[[2]], function(x) list(Encoding(x[1]), charToRaw(x[1]))
  )
})

# Changes the first number of a vector, or an attribute, where it is: R does not notice.
poke <- function() {
  testthat::skip_if_not(nzchar(Sys.which("cc")), "there is no C compiler")
  folder <- tempfile("poke")
  dir.create(folder)
  source <- file.path(folder, "poke.c")
  writeLines(c(
    "#include <Rinternals.h>",
    "SEXP poke(SEXP x) { REAL(x)[0] += 1; return R_NilValue; }",
    "SEXP poke_attribute(SEXP x, SEXP value) {",
    "  setAttrib(x, install(\"note\"), value); return R_NilValue; }"
  ), source)
  library <- file.path(folder, paste0("poke", .Platform$dynlib.ext))
  built <- system2(file.path(R.home("bin"), "R"), c("CMD", "SHLIB", "-o", library, source),
    stdout = TRUE, stderr = TRUE
  )
  if (!file.exists(library)) stop(paste(built, collapse = "\n"))
  dyn.load(library)
}

test_as_user("what C code changes in place between two loops is sent again", {
  local_cluster(2)
  code <- poke()
  at_end(bquote(dyn.unload(.(code[["path"]]))))
  first <- function(x) x[1:2]
  expect_same_as_psock(function() long(1) + 0, function(x) .Call(code$poke, x), first)
  # Within a list, where the change is deep inside.
  expect_same_as_psock(
    function() list(a = list(b = long(1) + 0)), function(x) .Call(code$poke, x$a$b),
    function(x) x$a$b[1]
  )
  expect_same_as_psock(
    function() long(1) + 0, function(x) .Call(code$poke_attribute, x, "new"),
    function(x) attr(x, "note")
  )
})

test_as_user("what a task does to its copy, no later loop sees", {
  local_cluster(1)
  x <- long(1) + 0
  first <- foreach(i = 1:2, .combine = c) %dopar% {
    x[1] <- x[1] + i
    x[1]
  }
  again <- foreach(i = 1:2, .combine = c) %dopar% x[1]
  expect_identical(first, c(2, 3))
  expect_identical(again, c(1, 1))
})
