# What is wrong is said before anything is started: each a class of its own, with what was found and
# what is allowed.

# Expects the error, and that neither a process nor a folder is there that was not before.
expect_refused <- function(code, kind, ...) {
  place <- tempfile("place-")
  dir.create(place)
  before <- Sys.getenv("XDG_RUNTIME_DIR", NA)
  Sys.setenv(XDG_RUNTIME_DIR = place)
  on.exit(if (is.na(before)) {
    Sys.unsetenv("XDG_RUNTIME_DIR")
  } else {
    Sys.setenv(XDG_RUNTIME_DIR = before)
  })
  error <- testthat::expect_error(code, class = paste0("rustBatch_error_", kind))
  testthat::expect_s3_class(error, "rustBatch_error")
  for (part in c(...)) testthat::expect_match(conditionMessage(error), part, fixed = TRUE)
  testthat::expect_true(wait_until(length(cluster_processes()) == 0L, 2))
  testthat::expect_identical(dir(place), character())
  error
}

json <- function(...) {
  file <- tempfile("cluster-", fileext = ".json")
  writeLines(c(...), file)
  file
}

# Files ----

test_that("a file that can't be read is named with the reason", {
  file <- json("{}")
  unlink(file)
  error <- expect_refused(makeCluster(file), "config", file, "there is no such file")
  expect_identical(error$file, file)
  expect_refused(makeCluster("no/such.json"), "config", "starts at the folder")
  expect_refused(makeCluster(tempdir()), "config", "it is a folder", "cluster.json")
  expect_refused(makeCluster(""), "config")
  # Root may read everything.
  if (Sys.info()[["user"]] != "root") {
    Sys.chmod(file <- json("{}"), "000")
    expect_refused(makeCluster(file), "config", file, "denied")
  }
})

test_that("a file that is no JSON object is named with the place", {
  expect_refused(makeCluster(json("")), "config", "it is empty")
  file <- json("{", "  \"workers\": 4,", "}")
  error <- expect_refused(makeCluster(file), "config", "line 3 column 1", "JSON has no comments")
  expect_identical(error$file, file)
  expect_refused(makeCluster(json("[1, 2]")), "config", "found a list in place of an object")
  twice <- json("{\"provider\": \"local\", \"slots\": 1, \"slots\": 2}")
  expect_refused(makeCluster(twice), "config", "the field `slots` stands twice")
})

test_that("a field of a file is named with what was found and what is allowed", {
  file <- json("{\"provider\": \"local\", \"workers\": \"four\"}")
  error <- expect_refused(makeCluster(file), "workers", file, "the text \"four\"", "from 1 to 1024")
  expect_identical(error$file, file)
  expect_identical(error$field, "workers")
  expect_match(error$found, "four")
  expect_match(error$allowed, "1 to 1024")
  file <- json("{\"provider\": \"local\", \"name\": \"my cluster\"}")
  error <- expect_refused(makeCluster(file), "config", "letters, digits")
  expect_identical(error$field, "name")
  error <- expect_refused(makeCluster(json("{\"workers\": 2}")), "config", "Missing field")
  expect_identical(error$field, "provider")
})

test_that("a provider that is not one name is refused", {
  for (provider in list(c("docker", "ecs"), character(), 1, NA_character_)) {
    refused <- quote(expect_refused(makeCluster(provider = provider), "config", "`provider`"))
    # Before R 4.3 a condition of two values is a warning.
    expect_identical(signals(error <- eval(refused)), character())
    expect_identical(error$field, "provider")
  }
})

test_that("what names no provider is refused", {
  for (spec in list(1, c("a", "b"), NA_character_, TRUE)) {
    expect_refused(getClusterList(spec), "config", "`spec` is")
  }
})

test_that("what a call was given is said to have been given to that call", {
  wrong <- list(provider = "docker", colour = "red")
  expect_refused(getCluster("fit", wrong), "config", "in `getCluster()`: `colour`")
  expect_refused(getClusterList(wrong), "config", "in `getClusterList()`: `colour`")
  expect_refused(cleanupClusters(wrong), "config", "in `cleanupClusters()`: `colour`")
  expect_refused(cleanupClusters(list("docker")), "config", "given to cleanupClusters()")
})

test_that("a text that is NA is refused", {
  expect_refused(makeCluster(name = NA_character_), "config", "Can't use `name`", "NA")
  expect_refused(makeCluster(dockerCluster(1, image = NA_character_)), "config", "`image`", "NA")
  expect_refused(makeCluster(dockerCluster(env = c(A = NA, B = "b"))), "config", "`env`", "NA")
})

test_that("an unknown field or provider is named with the known ones", {
  file <- json("{\"provider\": \"local\", \"worker\": 2}")
  error <- expect_refused(makeCluster(file), "config", "Did you mean `workers`?", "`rCommand`")
  expect_identical(error$field, "worker")
  expect_refused(makeCluster(wrokers = 2), "config", "Did you mean `workers`?")
  expect_refused(makeCluster(list(colour = "red")), "config", "Known fields are")
  error <- expect_refused(makeCluster(provider = "azure"), "provider", "\"azure\"", "`\"local\"`")
  expect_identical(error$field, "provider")
  expect_refused(makeCluster(json("{\"provider\": \"kubernetes\"}")), "provider", "kubernetes")
})

# Arguments ----

test_that("a number of workers that can't be used is refused", {
  for (wrong in list(0, -1, 2.5, 1e9, 1025, NA, NA_integer_, NA_real_, NaN, Inf, c(1, 2), TRUE)) {
    error <- expect_refused(makeCluster(wrong), "workers", "from 1 to 1024")
    expect_identical(error$field, "workers")
    expect_refused(makeCluster(workers = wrong), "workers")
    expect_refused(makeCluster(list(workers = wrong)), "workers")
  }
  expect_refused(makeCluster(workers = "four"), "workers", "the text \"four\"")
  expect_refused(makeCluster(workers = character()), "workers")
  expect_refused(makeCluster(2, slots = 0), "workers", "`slots`")
  expect_refused(makeCluster(2, slots = 1000), "workers", "from 1 to 256")
  # A text is a file.
  expect_refused(makeCluster("four"), "config", "there is no such file")
})

test_that("fields without names, twice, or beside a file are refused", {
  expect_refused(makeCluster(list("local", 2)), "config", "without a name")
  expect_refused(makeCluster(list(workers = 2, "local")), "config", "without a name")
  expect_refused(makeCluster(2, 3), "config", "without a name")
  error <- expect_refused(makeCluster(2, workers = 3), "config", "`workers`", "twice")
  expect_identical(error$field, "workers")
  file <- json("{\"provider\": \"local\"}")
  expect_refused(makeCluster(file, slots = 2), "config", "beside a file", "`slots`")
  expect_refused(makeCluster(file, redis = "redis://h"), "config", "`redis`")
})

test_that("something else than a specification is refused", {
  for (wrong in list(mean, quote(x), as.raw(1), list2env(list(pattern = NA)), 1i)) {
    expect_refused(makeCluster(wrong), "workers")
  }
})

test_that("a URL that can't be used is refused without being shown", {
  for (url in c("s3cret", "http://u:s3cret@h", "redis://u:s3cret@h:x", "redis://s3cret@h")) {
    error <- expect_refused(makeCluster(1, redis = url), "config", "`redis`", "redis://host:6379")
    expect_length(grep("s3cret", c(conditionMessage(error), unlist(error[-2]))), 0L)
  }
  expect_refused(makeCluster(1, redis = 6379), "config", "the number 6379")
  expect_refused(makeCluster(1, redis = c("redis://a", "redis://b")), "config", "a list")
})

test_that("an R that can't be run is refused, with what it said", {
  skip_without_redis()
  expect_refused(makeCluster(1, rCommand = "/no/such/R"), "provision", "/no/such/R", "No such file")
  expect_refused(makeCluster(1, rCommand = ""), "config", "`rCommand`")
})

# Servers ----

test_that("without a Redis on the path it is said how to get one", {
  path <- Sys.getenv("PATH")
  on.exit(Sys.setenv(PATH = path))
  refuse <- function() {
    Sys.setenv(PATH = tempdir())
    on.exit(Sys.setenv(PATH = path))
    makeCluster(1)
  }
  expect_refused(
    refuse(), "redis_missing", "redis-server", "apt install", "brew install", "conda install",
    "makeCluster(redis = "
  )
})

test_that("where nothing listens, it is said what was tried", {
  port <- free_port()
  url <- sprintf("redis://127.0.0.1:%d", port)
  took <- seconds(expect_refused(
    makeCluster(1, redis = url), "unreachable", sprintf("127.0.0.1:%d", port), "refused"
  ))
  expect_lt(took, 8)
  expect_refused(makeCluster(1, redis = "rediss://no.such.host.invalid"), "unreachable")
})

test_that("something else than Redis is told from it", {
  port <- local_impostor(list(other = "HTTP/1.1 400 Bad Request\r\n\r\n"))
  url <- sprintf("redis://127.0.0.1:%d", port)
  expect_refused(makeCluster(1, redis = url), "foreign", "is not a Redis server")
})

test_that("what never answers is given up", {
  silent <- serverSocket(port <- free_port())
  on.exit(close(silent))
  took <- seconds(expect_refused(
    makeCluster(1, redis = sprintf("redis://127.0.0.1:%d", port)), "unreachable", "no answer"
  ))
  expect_lt(took, 15)
})

test_that("a Redis that is too old is named with its version", {
  about <- bulk("# Server\r\nredis_version:5.0.14\r\nmaxmemory:0\r\n")
  port <- local_impostor(list(INFO = about, HELLO = "-ERR unknown command\r\n", other = "+OK\r\n"))
  url <- sprintf("redis://127.0.0.1:%d", port)
  expect_refused(makeCluster(1, redis = url), "version", "5.0.14", "6.2")
})

test_that("a wrong or missing password is an error of its own, and not shown", {
  port <- local_redis("--requirepass", "right")
  wrong <- sprintf("redis://:s3cret@127.0.0.1:%d", port)
  error <- expect_refused(makeCluster(1, redis = wrong), "credentials", "refuses")
  expect_length(grep("s3cret", c(conditionMessage(error), unlist(error[-2]))), 0L)
  expect_refused(
    makeCluster(1, redis = sprintf("redis://127.0.0.1:%d", port)), "credentials", "NOAUTH"
  )
})

test_that("a Redis that throws keys away is refused, with the setting", {
  port <- local_redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
  expect_refused(
    makeCluster(1, redis = sprintf("redis://127.0.0.1:%d", port)), "setting",
    "maxmemory-policy allkeys-lru", "noeviction"
  )
  expect_identical(ask_redis(port, "DBSIZE"), 0)
})
