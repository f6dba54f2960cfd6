# Objects take the methods of their classes along.

# Defines names in the global environment until the test ends.
local_globals <- function(..., frame = parent.frame()) {
  values <- list(...)
  list2env(values, globalenv())
  at_end(bquote(rm(list = .(names(values)), envir = globalenv())), frame)
}

test_as_user("S3 methods of the global environment are found", {
  local_cluster(1)
  local_globals(
    print.zzz = function(x, ...) cat("<zzz>\n"),
    "+.money" = function(e1, e2) "money",
    ar2 = function(x) UseMethod("ar2"), ar2.sq = function(x) "a method"
  )
  z <- structure(1, class = "zzz")
  expect_identical((foreach(1) %dopar% capture.output(print(z)))[[1]], "<zzz>")
  expect_identical((foreach(i = 1) %dopar% (structure(i, class = "money") + 1))[[1]], "money")
  expect_identical((foreach(1) %dopar% ar2(structure(1, class = "sq")))[[1]], "a method")
})

test_as_user("S4 and reference classes of the global environment are found", {
  local_cluster(1)
  at_end(quote({
    removeMethod("area", "Plate", where = globalenv())
    removeGeneric("area", where = globalenv())
    removeClass("Plate", where = globalenv())
    removeClass("Account", where = globalenv())
  }), environment())
  setClass("Plate", representation(x = "numeric"), where = globalenv())
  setGeneric("area", function(o) standardGeneric("area"), where = globalenv())
  setMethod("area", "Plate", function(o) o@x^2, where = globalenv())
  account <- setRefClass("Account",
    fields = list(n = "numeric"), methods = list(add = function(x) n <<- n + x),
    where = globalenv()
  )
  plate <- new("Plate", x = 3)
  mine <- account$new(n = 1)
  expect_identical(foreach(i = 1:2, .combine = c) %dopar% area(plate), c(9, 9))
  sums <- foreach(i = 1:2, .combine = c) %dopar% {
    copy <- mine$copy()
    copy$add(i)
    copy$n
  }
  expect_identical(sums, c(2, 3))
  # What a task did to the object itself is not the next loop's.
  foreach(1) %dopar% mine$add(5)
  expect_identical(foreach(1, .combine = c) %dopar% mine$n, 1)
})

test_as_user("functions within lists and among arguments find what they use", {
  local_cluster(1)
  local_globals(zz = 5)
  functions <- list(a = function(x) x + zz)
  environment(functions$a) <- globalenv()
  expect_identical(foreach(i = 1:2, .combine = c) %dopar% functions$a(i), c(6, 7))
  expect_identical(foreach(f = functions, .combine = c) %dopar% f(4), 9)
})

test_as_user("a task may have objects named as base's functions are", {
  local_cluster(1)
  local_globals(names = function(x) "n", list = function(...) "l", cat = function(...) "c")
  expect_identical(foreach(i = 1:2, .combine = c) %dopar% names(i), c("n", "n"))
  expect_identical(foreach(i = 1:2, .combine = c) %dopar% list(i), c("l", "l"))
  expect_message(foreach(i = 1) %dopar% {
    message(cat("x"))
  }, "^c\n")
})
