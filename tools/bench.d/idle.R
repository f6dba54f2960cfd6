# Watches idle processes for 20 s, from outside, and prints for each group how much of a core it
# needed (%) and how often a second it woke. Called by the work W0 with groups: client=12 r=14,15

window <- 0.25 # seconds; what happens within one counts as one wake-up

tasks_of <- function(processes) Sys.glob(sprintf("/proc/%s/task/*", processes))

# Seconds that all threads have run.
ran <- function(tasks) {
  words <- strsplit(vapply(file.path(tasks, "schedstat"), readLines, ""), " ")
  sum(as.numeric(vapply(words, `[`, "", 1L))) / 1e9
}

# How often all threads have waited and gone on.
woke <- function(tasks) {
  sum(vapply(file.path(tasks, "status"), function(file) {
    as.numeric(sub("\\D+", "", grep("^voluntary", readLines(file), value = TRUE)))
  }, 0))
}

words <- strsplit(commandArgs(TRUE), "=")
groups <- lapply(words, function(word) strsplit(word[2], ",")[[1]])
names(groups) <- vapply(words, `[`, "", 1L)

state <- function(look) vapply(groups, function(processes) look(tasks_of(processes)), 0)

start <- Sys.time()
ran_before <- state(ran)
woke_before <- state(woke)
bursts <- 0
for (k in seq_len(20 / window)) {
  Sys.sleep(window)
  woke_now <- state(woke)
  bursts <- bursts + (woke_now != woke_before)
  woke_before <- woke_now
}
elapsed <- as.numeric(difftime(Sys.time(), start, units = "secs"))
cat(sprintf("%s_cpu=%g\n", names(groups), 100 * (state(ran) - ran_before) / elapsed), sep = "")
cat(sprintf("%s_wakes=%g\n", names(groups), bursts / elapsed), sep = "")
