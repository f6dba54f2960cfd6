# Tasks that take their time: even ones that compute, uneven ones that sleep.

# About 0.15 s a fit, 4 MB of data.
make_patients <- function() {
  set.seed(1)
  rows <- 30000
  patients <- as.data.frame(matrix(stats::rnorm(rows * 17), rows))
  risk <- as.matrix(patients) %*% seq(-0.5, 0.5, length.out = 17)
  patients$y <- as.integer(stats::runif(rows) < stats::plogis(risk))
  patients
}

work_w5 <- function(backend, port) {
  patients <- make_patients()
  fit <- function(i) {
    rows <- (seq_len(nrow(patients)) * 7919 * i) %% nrow(patients) %/% 1.3 + 1
    stats::coef(stats::glm(y ~ ., stats::binomial, patients[rows, ]))
  }
  time <- seconds(
    fits <- foreach(i = 1:64, .export = named_for(backend, "fit", "patients")) %dopar% fit(i)
  )
  check(length(fits) == 64L)
  check(all.equal(fits[[1]], fit(1)) && all.equal(fits[[64]], fit(64)))
  c(time = time)
}

# A Pareto distribution's quantiles, in an order by chance: 10 ms to 0.5 s.
make_naps <- function() {
  set.seed(6)
  sample(0.01 * (1 - (1:200 - 0.5) / 200)^(-1 / 1.5))
}

work_w6 <- function(backend, port) {
  naps <- make_naps()
  time <- seconds(
    values <- foreach(nap = naps, .combine = c) %dopar% {
      Sys.sleep(nap)
      nap
    }
  )
  check(identical(unlist(values), naps))
  c(makespan = time / max(sum(naps) / slots, max(naps)))
}
