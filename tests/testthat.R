library(testthat)
library(rustBatch)

test_check("rustBatch")
