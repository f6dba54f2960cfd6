# Images for workers. What is built in them is shown by the Rust tests.

skip_without_images <- function() {
  found <- nzchar(Sys.which("docker")) &&
    suppressWarnings(system2("docker", c("image", "inspect", test_image), FALSE, FALSE)) == 0L
  testthat::skip_if_not(found, "SKIPPED: there is no Docker with the images of tools/setup --e2e")
}

test_image <- "rustbatch-test-r:bookworm"

test_that("what can't be installed is refused before Docker is asked", {
  refused <- function(packages, part) {
    error <- expect_error(buildWorkerImage("r", packages), class = "rustBatch_error_config")
    expect_match(conditionMessage(error), part, fixed = TRUE)
  }
  refused(list(rPackages = "no name"), "`rPackages` of `buildWorkerImage()`: the text \"no name\"")
  refused("u/r", "`rPackages` of `buildWorkerImage()`: the text \"u/r\"")
  refused(list(rPackages = list(github = "r")), "`github` of `rPackages` of `buildWorkerImage()`")
  refused(list(sysPackages = 1), "`sysPackages` of `buildWorkerImage()`: the number 1")
  refused(list(rPackage = "a1"), "Did you mean `rPackages`?")
  refused(list(repos = "https://u:s@h"), "a URL with a user name or a password")
  refused(list(repos = "a", repos = "b"), "`repos` was given to buildWorkerImage() twice")
  for (bad in list(1, "", NA_character_, c("a", "b"), NULL)) {
    expect_error(buildWorkerImage(bad), class = "rustBatch_error_config")
  }
  expect_error(buildWorkerImage("r", tag = 1), class = "rustBatch_error_config")
  expect_error(buildWorkerImage("r", push = NA), class = "rustBatch_error_config")
})

test_that("an image is built while its output is shown", {
  skip_without_images()
  tag <- paste0("rb-test-r-", Sys.getpid(), ":made")
  at_end(quote(system2("docker", c("image", "rm", "--force", tag), FALSE, FALSE)), environment())
  name <- NULL
  said <- signals(
    name <- buildWorkerImage(test_image, list(commandLine = "echo h3ard"), tag = tag)
  )
  expect_equal(name, tag)
  expect_true("message: h3ard" %in% said)
  expect_match(said[2L], paste("message: Building the image", tag), fixed = TRUE)
})

test_that("a package that can't be installed is an error that names it", {
  skip_without_images()
  packages <- list(rPackages = "rbNowhere", repos = "file:///no/such")
  tag <- paste0("rb-test-r-", Sys.getpid(), ":bad")
  error <- suppressMessages(expect_error(
    buildWorkerImage(test_image, packages, tag = tag), class = "rustBatch_error_package"
  ))
  expect_equal(error$package, "rbNowhere")
  expect_match(error$found, "can't reach the repository file:///no/such", fixed = TRUE)
  expect_match(error$log, "rbNowhere")
})

test_that("a context that there is not is an error of Docker's", {
  testthat::skip_if_not(nzchar(Sys.which("docker")), "SKIPPED: there is no Docker")
  error <- suppressMessages(expect_error(
    buildWorkerImage("r", context = "rb-no-such"), class = "rustBatch_error"
  ))
  expect_match(conditionMessage(error), "rb-no-such")
})
