# The goals. A goal without `than` is about rustBatch's own median; with a backend's name ("best":
# of all others) about how many times as fast as that one rustBatch is; with a metric's name about
# the part of that metric.
goals <- utils::read.table(header = TRUE, stringsAsFactors = FALSE, text = "
work metric         than         sense limit
P    load           ''           <     0.3
P    threads        ''           <     0
P    symbols        ''           <     0
W0   client_cpu     ''           <     0.1
W0   worker_cpu     ''           <     0.1
W0   client_wakes   ''           <     1
W0   worker_wakes   ''           <     1
W1   time           sequential   >     8
W1   time           fork         >     6
W1   time           psock        >     15
W1c  c              sequential   >     1
W1c  c              psock        >     2
W1c  plus           sequential   >     1
W1c  plus           psock        >     2
W1c  unknown        sequential   >     1
W1c  unknown        psock        >     2
W1m  growth         ''           <     1
W1m  memory         ''           <     1500
W2   p50            ''           <     1
W2   p99            ''           <     10
W3   first          psock        >     1
W3   again          first        <     0.1
W3   again          ''           <     0.04
W3r  sent           ''           <     1
W3r  peak           ''           <     160
W4   small          fork         >     1
W4   large          psock        >     1
W4r  peak           ''           <     100
W5   time           best         >     0.97
W6   makespan       ''           <     1.1
W7   time           psock        >     1
W8   task           ''           <     5
W9   rate           ''           >     5000
W9   peak           ''           <     150
")

# Paired within a round, because a machine's speed drifts; NA where one of the two is missing.
times_as_fast <- function(runs, work, metric, other) {
  mine <- runs[runs$work == work & runs$metric == metric, ]
  own <- mine[mine$backend == "rustBatch", ]
  theirs <- mine[mine$backend == other, ]
  pair <- match(own$round, theirs$round)
  stats::median(theirs$value[pair] / own$value, na.rm = TRUE)
}

# What was found for a goal.
found <- function(goal, runs) {
  own <- function(metric) {
    here <- runs$work == goal$work & runs$metric == metric & runs$backend == "rustBatch"
    stats::median(runs$value[here])
  }
  if (goal$than == "") {
    own(goal$metric)
  } else if (goal$than %in% metrics$metric) {
    own(goal$metric) / own(goal$than)
  } else if (goal$than == "best") {
    others <- setdiff(unique(runs$backend[runs$work == goal$work]), "rustBatch")
    ratios <- vapply(others, function(one) times_as_fast(runs, goal$work, goal$metric, one), 0)
    if (length(ratios)) min(ratios, na.rm = TRUE) else NA
  } else {
    times_as_fast(runs, goal$work, goal$metric, goal$than)
  }
}

goal_text <- function(goal) {
  unit <- metrics$unit[metrics$work == goal$work & metrics$metric == goal$metric]
  limit <- format(goal$limit, big.mark = ",")
  than <- sub("best", "the best other", goal$than)
  if (goal$than == "") {
    sense <- if (goal$sense == "<") "at most" else "at least"
    trimws(paste(sense, limit, switch(unit, x = "", `1/s` = "a second", unit)))
  } else if (goal$than %in% metrics$metric) {
    paste("at most", limit, "of the", than, "loop")
  } else if (goal$limit == 1) {
    paste("not slower than", than)
  } else {
    paste("speed at least", limit, "x", than)
  }
}

# All goals of the works that ran: what was wanted, what was found, and whether it is met. A wrong
# result meets no goal.
judge <- function(runs) {
  rows <- lapply(which(goals$work %in% runs$work), function(k) {
    goal <- goals[k, ]
    value <- found(goal, runs)
    failed <- any(runs$work == goal$work & runs$backend == "rustBatch" & runs$failure != "")
    verdict <- if (failed) {
      "missed"
    } else if (is.na(value)) {
      "not measured"
    } else if (if (goal$sense == "<") value <= goal$limit else value >= goal$limit) {
      "met"
    } else {
      "missed"
    }
    data.frame(
      work = goal$work, what = label(goal$work, goal$metric), goal = goal_text(goal),
      found = signif(value, 5), verdict = verdict
    )
  })
  do.call(rbind, rows)
}
