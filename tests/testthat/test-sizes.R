# Whatever fits in memory goes either way; an iterator needs no more than is under way.

# What the process has needed at most, in bytes.
peak_code <- quote({
  status <- readLines("/proc/self/status")
  as.numeric(gsub("[^0-9]", "", grep("^VmHWM", status, value = TRUE))) * 1024
})

test_that("600 MB and 2.5 GB go either way", {
  skip_without_redis()
  skip_without_proc()
  equal <- in_fresh_r(timeout = 400, {
    # Bytes at fixed places, so that every process can make the same ones.
    make <- function(size) {
      bytes <- raw(size)
      bytes[seq(1, size, by = 99991)] <- as.raw(7)
      bytes
    }
    cluster <- makeCluster(1)
    registerDoRustBatch(cluster)
    options(rustBatch.export.warn = Inf)
    one <- function(size) {
      bytes <- make(size)
      argument <- foreach(argument = list(bytes)) %dopar% identical(argument, make(size))
      export <- foreach(i = 1) %dopar% identical(bytes, make(size))
      rm(bytes)
      result <- foreach(i = size) %dopar% make(i)
      c(argument[[1]], export[[1]], identical(result[[1]], make(size)))
    }
    equal <- c(one(6e8), one(2.5e9))
    stopCluster(cluster)
    equal
  })
  expect_identical(equal, rep(TRUE, 6))
})

test_that("an iterator over 20 GB runs in less than 1 GB", {
  skip_without_redis()
  skip_without_proc()
  found <- in_fresh_r(timeout = 400, peak_code = peak_code, {
    cluster <- makeCluster(2)
    registerDoRustBatch(cluster)
    blocks <- 0
    # 16 MB each, and never two at a time.
    next_block <- function() {
      if (blocks == 1280) stop("StopIteration", call. = FALSE)
      blocks <<- blocks + 1
      numeric(2e6) + blocks
    }
    endless <- structure(list(nextElem = next_block), class = c("abstractiter", "iter"))
    sums <- foreach(block = endless, .combine = c) %dopar% block[1]
    stopCluster(cluster)
    list(right = identical(sums, as.numeric(1:1280)), peak = eval(peak_code))
  })
  expect_true(found$right)
  expect_lt(found$peak, 1e9)
})

test_as_user("an export crosses the line once for a worker, whatever its slots", {
  port <- local_redis()
  local_cluster(4, redis = sprintf("redis://127.0.0.1:%d", port))
  sent <- function() {
    stats <- system2("redis-cli", c("-p", port, "INFO", "stats"), stdout = TRUE)
    as.numeric(sub(".*:", "", grep("^total_net_output_bytes:", stats, value = TRUE)))
  }
  # 20 MB of which no compression makes less.
  big <- sin(seq_len(2.5e6))
  before <- sent()
  used <- foreach(i = 1:40, .combine = c) %dopar% {
    Sys.sleep(0.02)
    c(Sys.getpid(), sum(big))
  }
  expect_length(unique(used[c(TRUE, FALSE)]), 4L)
  expect_lt(sent() - before, 1.05 * 20e6)
})

# A Redis that can hold little ----

# So many MiB that no compression makes shorter, soon made.
noise <- function(mib) {
  source <- file("/dev/urandom", "rb", raw = TRUE)
  on.exit(close(source))
  readBin(source, "raw", mib * 2^20)
}

test_as_user("a value that Redis can't hold is an error of its task, at once", {
  skip_if_not(file.exists("/dev/urandom"))
  port <- local_redis("--maxmemory", "32mb", "--maxmemory-policy", "noeviction")
  cluster <- local_cluster(2, redis = sprintf("redis://127.0.0.1:%d", port))
  single <- chunks_of(1)
  took <- seconds(passed <- foreach(
    i = 1:4, .errorhandling = "pass", .options.rustBatch = single
  ) %dopar% if (i == 3) noise(40) else i)
  expect_lt(took, 20)
  expect_identical(passed[-3], list(1L, 2L, 4L))
  error <- passed[[3]]
  expect_s3_class(error, c("rustBatch_error_too_large", "rustBatch_error", "error"))
  expect_identical(error$limit, 32 * 2^20)
  expect_gt(error$size, 40 * 2^20)
  expect_lt(error$size, 41 * 2^20)
  expect_match(conditionMessage(error),
    "^the task's value is 40 MiB and too large for Redis, whose `maxmemory` is 32 MiB\n[*] Raise"
  )
  removed <- foreach(i = 1:2, .errorhandling = "remove", .combine = c) %dopar% {
    if (i == 1) noise(40) else i
  }
  expect_identical(removed, 2L)
  stopped <- expect_error(
    foreach(i = 1:2) %dopar% if (i == 2) noise(40), class = "rustBatch_error_too_large"
  )
  expect_s3_class(stopped, "rustBatch_error_task")
  # Several that fit one by one are not to blame for their neighbours.
  lengths <- foreach(i = 1:3, .final = lengths, .options.rustBatch = chunks_of(3)) %dopar% noise(15)
  expect_equal(lengths, rep(15 * 2^20, 3))
})

test_as_user("what the client can't send is an error before anything is sent", {
  skip_if_not(file.exists("/dev/urandom"))
  port <- local_redis("--maxmemory", "32mb", "--maxmemory-policy", "noeviction")
  local_cluster(1, redis = sprintf("redis://127.0.0.1:%d", port))
  big <- noise(40)
  ran <- tempfile("ran-")
  export <- expect_error(
    foreach(i = 1) %dopar% {
      file.create(ran)
      length(big)
    },
    class = "rustBatch_error_too_large"
  )
  argument <- expect_error(
    foreach(x = list(big)) %dopar% file.create(ran), class = "rustBatch_error_too_large"
  )
  for (error in list(export, argument)) {
    expect_identical(error$limit, 32 * 2^20)
    expect_true(error$size > 40 * 2^20 && error$size < 41 * 2^20)
    expect_match(conditionMessage(error), "whose `maxmemory` is 32 MiB\n* Raise", fixed = TRUE)
  }
  expect_false(file.exists(ran))
  # Short enough when compressed.
  zeros <- raw(40 * 2^20)
  expect_identical(foreach(i = 1, .combine = c) %dopar% length(zeros), length(zeros))
})
