# Makes of runs.csv what a run is for: the tables (printed), results.csv, goals.csv and ratios.png.
# Called by tools/bench with the folder.

for (file in c("catalogue", "goals", "plot")) source(sprintf("tools/bench.d/%s.R", file))

# "10,000 null tasks: .combine = c"
label <- function(work, metric) {
  titles <- c(
    works$title[works$id == work], metrics$title[metrics$work == work & metrics$metric == metric]
  )
  paste(titles[nzchar(titles)], collapse = ": ")
}

# One row for each metric and backend.
summarise <- function(runs) {
  rows <- lapply(seq_len(nrow(metrics)), function(k) {
    one <- metrics[k, ]
    here <- runs[runs$work == one$work & runs$metric %in% c(one$metric, ""), ]
    by_backend <- lapply(intersect(c(backends$id, "machine"), here$backend), function(backend) {
      mine <- here[here$backend == backend, ]
      values <- mine$value[!is.na(mine$value)]
      data.frame(
        work = one$work, what = label(one$work, one$metric), metric = one$metric,
        unit = one$unit, backend = backend, runs = length(values),
        median = if (length(values)) stats::median(values) else NA,
        least = if (length(values)) min(values) else NA,
        most = if (length(values)) max(values) else NA,
        ratio = if (length(values)) times_as_fast(runs, one$work, one$metric, backend) else NA,
        failure = mine$failure[order(mine$failure == "")][1]
      )
    })
    do.call(rbind, by_backend)
  })
  do.call(rbind, rows)
}

number <- function(x) {
  out <- formatC(x, digits = 3, format = "fg", big.mark = ",")
  ifelse(is.na(x), "", trimws(out))
}

# "0.718 12.4x"; a wrong result is not a time.
cell_text <- function(row) {
  if (!nrow(row)) {
    return("")
  }
  if (nzchar(row$failure)) {
    return("FAIL")
  }
  if (row$backend %in% c("rustBatch", "machine") || is.na(row$ratio)) {
    return(number(row$median))
  }
  sprintf("%s %5s", number(row$median), paste0(number(signif(row$ratio, 2)), "x"))
}

# A matrix of texts: a metric in each row, a backend in each column.
table_of <- function(results, columns) {
  results <- results[results$backend %in% columns, ]
  rows <- unique(results[c("work", "what", "metric", "unit")])
  cells <- vapply(columns, function(backend) {
    vapply(seq_len(nrow(rows)), function(k) {
      cell_text(results[
        results$work == rows$work[k] & results$metric == rows$metric[k] &
          results$backend == backend,
      ])
    }, "")
  }, character(nrow(rows)))
  cbind(rows[c("work", "what", "unit")], matrix(cells, nrow(rows), dimnames = list(NULL, columns)))
}

show <- function(table, right) {
  table[] <- lapply(table, as.character)
  text <- rbind(if (any(nzchar(names(table)))) names(table), as.matrix(table))
  for (k in seq_len(ncol(text))) {
    text[, k] <- formatC(text[, k], width = max(nchar(text[, k])), flag = if (right[k]) "" else "-")
  }
  cat("", sub(" +$", "", apply(text, 1, paste, collapse = "  ")), sep = "\n")
}

folder <- commandArgs(TRUE)[1]
runs <- utils::read.csv(file.path(folder, "runs.csv"), colClasses = c(
  round = "integer", work = "character", backend = "character", metric = "character",
  value = "numeric", failure = "character"
))
results <- summarise(runs)
utils::write.csv(results, file.path(folder, "results.csv"), row.names = FALSE, na = "")

if ("machine" %in% results$backend) {
  limits <- table_of(results, "machine")
  cat("\nWhat the machine and foreach allow:\n")
  show(stats::setNames(limits[c("what", "machine", "unit")], c("", "", "")), c(FALSE, TRUE, FALSE))
}
columns <- intersect(backends$id, results$backend)
if (length(columns)) {
  show(table_of(results, columns), c(FALSE, FALSE, FALSE, rep(TRUE, length(columns))))
}
verdicts <- judge(runs)
if (!is.null(verdicts)) {
  utils::write.csv(verdicts, file.path(folder, "goals.csv"), row.names = FALSE, na = "")
  verdicts$found <- number(verdicts$found)
  show(verdicts, c(FALSE, FALSE, FALSE, TRUE, FALSE))
  counts <- table(factor(verdicts$verdict, c("met", "missed", "not measured")))
  cat("\nGoals:", paste(counts, names(counts), collapse = ", "), "\n")
}
plot_ratios(results, file.path(folder, "ratios.png"))
