# Clusters on AWS Fargate, as users have them. What the provider does in detail is shown by the Rust
# tests.

test_as_user("a loop runs on Fargate, its price is shown, and nothing is left of its cluster", {
  aws <- local_aws()
  image <- local_worker_image()
  said <- signals(cluster <- makeCluster(on_fargate(
    4, image, spot = "prefer", name = "fit", memory = 1000, maxCost = 5, maxCostPerHour = 0.11,
    executeCommand = TRUE
  )))
  at_end(bquote(rustBatch::stopCluster(.(cluster))), environment())
  at_end(quote(foreach::registerDoSEQ()), environment())
  expect_match(said, "A worker gets cpu = 256 and memory = 1024", fixed = TRUE, all = FALSE)
  expect_match(said, "costs about 0.10 dollars for an hour", fixed = TRUE, all = FALSE)
  registerDoRustBatch(cluster)
  expect_identical(getDoParWorkers(), 4L)
  hosts <- foreach(i = 1:200, .combine = c, .options.rustBatch = chunks_of(2)) %dopar% {
    Sys.sleep(0.02)
    stopifnot(!requireNamespace("rustBatch", quietly = TRUE))
    Sys.info()[["nodename"]]
  }
  expect_length(hosts, 200)
  expect_length(unique(hosts), 4)
  expect_identical(foreach(i = 1:200, .combine = c) %dopar% i^2, (1:200)^2)

  shown <- format(cluster)
  expect_match(shown[1], "<rustBatch cluster> fit: running", fixed = TRUE)
  expect_match(shown, "4 of 4 workers with 1 R process each .provider ecs.", all = FALSE)
  price <- "^  about 0[.]1[0-9] dollars an hour, 0[.][0-9]+ of 5[.]00 so far$"
  expect_match(shown, price, all = FALSE)
  listed <- clusterInstances(cluster)
  expect_identical(sort(listed$role), c("server", rep("worker", 4)))
  expect_match(clusterLogs(cluster, "server"), "ready", all = FALSE)
  command <- NULL
  capture.output(command <- clusterShell(cluster, 2))
  expect_match(command, "^aws ecs execute-command --region us-east-1 .* --command /bin/sh$")

  # What there is no money for is not started, and told to who asks for it.
  error <- NULL
  refused <- function() {
    error <<- tryCatch(resizeCluster(cluster, 5), error = identity)
    inherits(error, "rustBatch_error_budget")
  }
  expect_true(wait_until(refused(), 30))
  expect_match(conditionMessage(error), "more than 0.11 dollars for an hour", fixed = TRUE)
  id <- id_of(cluster)
  expect_true(id %in% getClusterList(ecsCluster())$cluster)
  expect_gt(length(aws$things(id)), 5)
  stopCluster(cluster)
  expect_identical(aws$things(id), character())
  expect_identical(aws$containers(), character())
  expect_false(id %in% getClusterList(ecsCluster())$cluster)
})

test_as_user("a cluster whose R was killed is found by name, used, and as it was configured", {
  aws <- local_aws()
  aws$tell("bucket", '{"name": "some-bucket"}')
  spec <- on_fargate(2, NULL, bucket = "some-bucket", name = "orphan")
  client <- start_r(spec = spec, body = quote({
    cluster <- suppressMessages(makeCluster(spec))
    say("id", rustBatch:::cluster_describe(cluster$pointer)$id)
    tools::pskill(Sys.getpid(), 9L)
  }))
  id <- client$said("id", 120)
  at_end(quote(rustBatch::cleanupClusters(rustBatch::ecsCluster())), environment())
  # Who finds it says nothing of images and sizes.
  cluster <- suppressMessages(getCluster("orphan", ecsCluster()))
  registerDoRustBatch(cluster)
  at_end(quote(foreach::registerDoSEQ()), environment())
  expect_identical(foreach(i = 1:50, .combine = c) %dopar% i, 1:50)
  # Its server may be stopped, and the cluster found again.
  stopServer(cluster)
  expect_false(isServerRunning(cluster))
  rustBatch:::cluster_stop(cluster$pointer, TRUE)
  said <- signals(cluster <- getCluster("orphan", ecsCluster()))
  expect_match(said, "its server had been stopped: starting it again", fixed = TRUE, all = FALSE)
  registerDoRustBatch(cluster)
  # What is lost is replaced by its like.
  aws$tell("kill", '{"n": 1, "group": "rustbatch-worker"}')
  found <- suppressMessages(
    foreach(i = 1:200, .combine = c, .options.rustBatch = chunks_of(1)) %dopar% {
      Sys.sleep(0.05)
      i
    }
  )
  expect_identical(found, 1:200)
  expect_true(wait_until(getWorkerNumbers(cluster)$running == 2L, 60))
  # What only the user can mend is told, once.
  aws$tell("fault", '{"call": "ListTasks", "kind": "denied", "times": 2}')
  expect_true(wait_until(!is.null(rustBatch:::cluster_trouble(cluster$pointer)), 30))
  expect_match(format(cluster), "what dies is not replaced: Can't call ecs:ListTasks", all = FALSE)
  told <- character()
  withCallingHandlers(
    for (i in 1:2) foreach(i = 1:3) %dopar% i,
    rustBatch_warning_unkept = function(w) {
      told <<- c(told, conditionMessage(w))
      invokeRestart("muffleWarning")
    }
  )
  expect_match(told, "^What dies of the cluster is not replaced: ")
  expect_length(told, 1)
  # A stop that fails can be tried again.
  expect_error(stopCluster(cluster), class = "rustBatch_error_provision")
  expect_match(format(cluster)[1], "could not be stopped", fixed = TRUE)
  stopCluster(cluster)
  expect_identical(aws$things(id), character())
  expect_identical(aws$containers(), character())
})

test_that("who asks is told, kept from everybody, and refused where AWS does not know them", {
  refused <- function(code) tryCatch(code, rustBatch_error = identity)
  aws <- local_aws()
  at_end(quote(suppressMessages(rustBatch::setCredentials())), environment())
  who <- NULL
  said <- signals(who <- setCredentials())
  expect_identical(who$account, "123456789012")
  moto <- "arn:aws:sts::123456789012:user/moto"
  expect_identical(
    said, paste0("message: AWS account 123456789012 as ", moto, ", region us-east-1")
  )
  keys <- list(accessKeyId = "AKIAHUNTER", secretAccessKey = "hunter2", sessionToken = "hunter3")
  suppressMessages(setCredentials(list(aws = c(keys, region = "eu-west-1"))))
  file <- tempfile(fileext = ".json")
  writeLines('{"aws": {"accessKeyId": "AKIAHUNTER", "secretAccessKey": "hunter2"}}', file)
  expect_identical(suppressMessages(setCredentials(file))$region, "us-east-1")
  saved <- tempfile()
  all <- as.list(asNamespace("rustBatch"), all.names = TRUE)
  saveRDS(Filter(function(x) !is.function(x), all), saved, compress = FALSE)
  bytes <- readBin(saved, "raw", 1e7)
  expect_false(grepl("hunter2", rawToChar(bytes[bytes != 0]), fixed = TRUE, useBytes = TRUE))

  # A profile is not what the environment says.
  error <- refused(setCredentials(list(aws = list(profile = "no-such-profile"))))
  expect_s3_class(error, "rustBatch_error_credentials")
  expect_match(conditionMessage(error), "no-such-profile", fixed = TRUE)

  error <- refused(setCredentials(list(aws = list(secretAccessKey = "hunter2"))))
  expect_s3_class(error, "rustBatch_error_config")
  expect_no_match(paste(format(error), collapse = " "), "hunter2", fixed = TRUE)
  expect_s3_class(refused(setCredentials(1)), "rustBatch_error_config")
  expect_s3_class(refused(setCredentials(list("work"))), "rustBatch_error_config")
  expect_s3_class(refused(setCredentials("no-such-file.json")), "rustBatch_error_config")
  odd <- list(list(profile = NA), list(profile = "a", profile = "b"), list(profile = "a\nb"))
  for (aws in odd) {
    expect_s3_class(refused(setCredentials(list(aws = aws))), "rustBatch_error_config")
  }
  expect_s3_class(refused(setCredentials(list())), "rustBatch_error_config")
})

test_that("without credentials, region or image nothing is made, and it is said what to do", {
  refused <- function(code) tryCatch(code, rustBatch_error = identity)
  aws <- local_aws(c(AWS_ACCESS_KEY_ID = "", AWS_SECRET_ACCESS_KEY = ""))
  for (code in expression(
    setCredentials(), makeCluster(ecsCluster(workerImage = "w")), getClusterList(ecsCluster())
  )) {
    error <- refused(eval(code))
    expect_s3_class(error, "rustBatch_error_credentials")
    expect_match(conditionMessage(error), "setCredentials()", fixed = TRUE)
  }
  local_environment(c(AWS_ACCESS_KEY_ID = "test", AWS_SECRET_ACCESS_KEY = "test"))
  error <- refused(makeCluster(ecsCluster()))
  expect_s3_class(error, "rustBatch_error_provision")
  expect_match(conditionMessage(error), "buildWorkerImage(", fixed = TRUE)
  error <- refused(makeCluster(ecsCluster(20, workerImage = "w", maxCostPerHour = 0.5)))
  expect_match(conditionMessage(error), "Ask for 8 or fewer", fixed = TRUE)
  error <- refused(makeCluster(ecsCluster(1, bucket = "no-such-bucket")))
  expect_match(conditionMessage(error), "aws s3 mb s3://no-such-bucket", fixed = TRUE)
  error <- refused(makeCluster(ecsCluster(1, bucket = "b-b", maxCost = 1e-9)))
  expect_match(conditionMessage(error), "`maxCost`", fixed = TRUE)
  local_environment(c(AWS_REGION = ""))
  error <- refused(makeCluster(ecsCluster(workerImage = "w")))
  expect_match(conditionMessage(error), "no region is named", fixed = TRUE)
  expect_match(aws$state(), '"things": {}', fixed = TRUE)
})
