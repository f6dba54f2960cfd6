# R CMD INSTALL runs this in src instead of its own copying: the library goes to libs, the worker's
# executable to bin, where system.file("bin", "rustbatch-worker", package = "rustBatch") finds it.

install <- function(files, folder, mode) {
  to <- file.path(R_PACKAGE_DIR, folder)
  dir.create(to, recursive = TRUE, showWarnings = FALSE)
  if (!all(file.copy(files, to, overwrite = TRUE))) {
    stop("can't copy ", toString(files), " to ", to)
  }
  Sys.chmod(file.path(to, basename(files)), mode)
}

install(paste0("rustBatch", SHLIB_EXT), paste0("libs", R_ARCH), "0755")
if (file.exists("symbols.rds")) {
  install("symbols.rds", paste0("libs", R_ARCH), "0644")
}
install("rustbatch-worker", "bin", "0755")

# What cargo left, unless it is wanted for the next time.
if (!nzchar(Sys.getenv("CARGO_TARGET_DIR")) && Sys.getenv("NOT_CRAN") != "true") {
  unlink("rust/target", recursive = TRUE)
}
