# Runs tests/testthat against the installed package, from tools/test.
# Writes "passed failed skipped", counted in test_that() blocks, to the file named by its first
# argument; a second one selects test files by a pattern.

counts <- commandArgs(TRUE)[1]
pattern <- commandArgs(TRUE)[2]

results <- as.data.frame(testthat::test_dir(
  "tests/testthat",
  package = "rustBatch",
  load_package = "installed",
  filter = if (!is.na(pattern)) pattern,
  reporter = testthat::MultiReporter$new(list(
    testthat::ListReporter$new(),
    testthat::SummaryReporter$new(show_praise = FALSE)
  )),
  stop_on_failure = FALSE
))

failed <- results$failed > 0 | results$error
skipped <- results$skipped & !failed
cat(sum(!failed & !skipped), sum(failed), sum(skipped), "\n", file = counts)
quit(status = any(failed))
