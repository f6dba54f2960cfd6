# What is measured: the works, who takes part in each, and the units of what they report.

# `by`: "all" backends, those that work in "parallel", those that speak to "redis", "rustBatch"
# alone, or the "machine". `often`: how many rounds; NA is as many as are asked for. `service`: what
# has to run beside it. `limit`: seconds after which a cell has failed.
works <- utils::read.table(header = TRUE, stringsAsFactors = FALSE, text = "
id   by        often service limit title
L    machine   NA    redis   120   ''
P    rustBatch NA    none    60    ''
W0   rustBatch 1     none    90    'idle'
W1   all       NA    none    120   '10,000 null tasks'
W1c  all       NA    none    180   '10,000 null tasks'
W1m  rustBatch 1     none    300   '1,000,000 null tasks'
W2   all       NA    none    120   'one task and back'
W3   all       NA    none    180   '100 MB for 20 tasks'
W3r  rustBatch NA    redis   180   '100 MB for 20 tasks'
W4   all       NA    none    180   ''
W4r  rustBatch NA    redis   180   ''
W5   all       5     none    240   '64 bootstrap fits of a glm'
W6   parallel  NA    none    120   '200 uneven naps'
W7   parallel  NA    none    60    'makeCluster(2) to an answer'
W8   redis     NA    proxy   180   '1 ms tasks, 50 ms away'
W9   rustBatch 1     none    240   '1,000 workers without R'
")

# In the order of the tables.
metrics <- utils::read.table(header = TRUE, stringsAsFactors = FALSE, text = "
work metric         unit   title
L    serialize      s      'serialize() 100 MB'
L    unserialize    s      'unserialize() 100 MB'
L    pipe           s      '100 MB through a pipe'
L    redis          ms     'a round trip to Redis'
L    iterate        s      'foreach takes 10,000 arguments'
L    accumulate     s      'foreach accumulates 10,000 values'
P    load           s      'library(rustBatch)'
P    threads        ''     'threads that it starts'
P    library        MB     'size of the library'
P    worker         MB     'size of the worker'
P    symbols        ''     'symbols left in both'
W0   client_cpu     '%'    'client, of a core'
W0   worker_cpu     '%'    'worker, of a core'
W0   r_cpu          '%'    'R processes, of a core'
W0   redis_cpu      '%'    'Redis, of a core'
W0   client_wakes   1/s    'client, wake-ups'
W0   worker_wakes   1/s    'worker, wake-ups'
W0   r_wakes        1/s    'R processes, wake-ups'
W0   redis_wakes    1/s    'Redis, wake-ups'
W1   time           s      ''
W1c  c              s      '.combine = c'
W1c  plus           s      '.combine = \"+\"'
W1c  unknown        s      'unknown length'
W1m  time           s      ''
W1m  growth         x      'a task, to one of 10,000'
W1m  memory         MB     'peak of the client'
W2   p50            ms     'median'
W2   p99            ms     '99th percentile'
W3   first          s      'first loop'
W3   again          s      'the same again'
W3   changed        s      'one element changed'
W3r  sent           MB     'sent again'
W3r  peak           MB     'peak of Redis'
W3r  peak_changed   MB     'peak, with a change'
W4   small          s      '1,000 results of 100 KB'
W4   large          s      '20 results of 10 MB'
W4r  peak_small     MB     'peak of Redis, 1,000 of 100 KB'
W4r  peak           MB     'peak of Redis, and 20 of 10 MB'
W5   time           s      ''
W6   makespan       x      'to the ideal'
W7   time           s      ''
W8   task           ms     'a task'
W9   rate           1/s    'tasks'
W9   peak           MB     'peak of Redis'
")

backends <- utils::read.table(header = TRUE, stringsAsFactors = FALSE, text = "
id         by       package
rustBatch  redis    rustBatch
sequential one      foreach
fork       parallel doParallel
psock      parallel doParallel
doRedis    redis    doRedis
doFuture   parallel doFuture
mirai      parallel mirai
clustermq  parallel clustermq
")

# Who takes part in a work.
participants <- function(work, present) {
  by <- backends$by[match(present, backends$id)]
  switch(works$by[works$id == work],
    machine = "machine",
    rustBatch = intersect("rustBatch", present),
    redis = present[by == "redis"],
    parallel = present[by != "one"],
    # The foreach adapter of clustermq knows no .combine.
    all = if (work == "W1c") setdiff(present, "clustermq") else present
  )
}

# What has to run beside a cell: everything of doRedis needs a Redis.
service_of <- function(work, backend) {
  service <- works$service[works$id == work]
  if (backend == "doRedis" && service == "none") "redis" else service
}
