# Bootstrap confidence intervals of a Cox model, one R process against all of this machine's.
#
#   Rscript bootstrap.R          # 1,500 resamples, one R process per core
#   Rscript bootstrap.R 5000     # more of them

library(rustBatch)
library(survival)

resamples <- suppressWarnings(as.integer(commandArgs(TRUE)[1]))
if (is.na(resamples)) resamples <- 1500L

# 929 patients with colon cancer, two rows each: recurrence and death. The rows of a patient belong
# together, so patients are drawn, not rows. All draws are made here, before any loop: every run
# works on the same resamples.
set.seed(20)
rows_of <- split(seq_len(nrow(colon)), colon$id)
draws <- replicate(
  resamples,
  unlist(sample(rows_of, replace = TRUE), use.names = FALSE),
  simplify = FALSE
)

hazard_ratios <- function(data) {
  fit <- coxph(
    Surv(time, status) ~ rx + sex + age + obstruct + adhere + nodes + extent + surg + strata(etype),
    data = data
  )
  exp(coef(fit))
}

# The loop. What runs it is what was registered last.
bootstrap <- function() {
  foreach(rows = draws, .combine = rbind, .packages = "survival") %dopar%
    hazard_ratios(colon[rows, ])
}

seconds <- function(expr) system.time(expr)[["elapsed"]]

run_sequentially <- function() {
  registerDoSEQ()
  time <- seconds(ratios <- bootstrap())
  cat(sprintf("sequential: %6.1f s\n", time))
  list(ratios = ratios, time = time)
}

run_in_parallel <- function() {
  start <- seconds(cluster <- makeCluster())
  on.exit({
    registerDoSEQ()
    stopCluster(cluster)
  })
  registerDoRustBatch(cluster)
  time <- seconds(ratios <- bootstrap())
  cat(sprintf(
    "parallel:   %6.1f s with %d R processes (and %.1f s to start them)\n",
    time, getDoParWorkers(), start
  ))
  list(ratios = ratios, time = time)
}

cat(sprintf("%d bootstrap resamples of a Cox model\n", resamples))
sequential <- run_sequentially()
parallel <- run_in_parallel()

cat("\nHazard ratios with 95 % percentile intervals\n")
limits <- apply(parallel$ratios, 2, quantile, probs = c(0.025, 0.975))
print(round(cbind(HR = hazard_ratios(colon), t(limits)), 2))

equal <- identical(sequential$ratios, parallel$ratios)
cat(sprintf("\nspeed-up %.2f, numbers equal: %s\n", sequential$time / parallel$time, equal))
if (!equal) stop("The parallel loop gave other numbers than the sequential one.")
