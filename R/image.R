#' Build an image for workers
#'
#' Makes a Docker image of `base` in which packages are installed and the
#' executable of the workers lies, so that workers that run in it need not
#' install anything when they start. It is built by the `docker` command, and
#' what that says is shown as messages while it runs.
#'
#' @param base The image to start from: any with R, such as
#'   `"rocker/r-ver:4.4"`, or one in which `sysPackages` install R.
#' @param packages What to install, as in a `cluster.json`: a list with
#'   `sysPackages` (names of Debian packages), `rPackages` (names of R packages,
#'   or a list of such: `cran`, `github` as `"user/repository"`, `bioconductor`),
#'   `commandLine` (command lines for `/bin/sh`, which run as root, after the
#'   Debian packages and before the R packages) and `repos` (URLs of repositories
#'   like CRAN, in place of those that the image's R knows; `file://` is a folder
#'   in the image). A character vector alone is taken for names of R packages of
#'   CRAN. All of it can be read in the image: no passwords.
#' @param push `TRUE` to push the image to the registry that `tag` begins with.
#' @param tag What to call the image. Without it the name follows from what is in
#'   the image.
#' @param context The Docker context to use, the current one unless given.
#' @return The image's name, to be given to a cluster as `image`.
#' @section Errors: `rustBatch_error_package` (a package that can't be installed,
#'   with the elements `package`, `found` and `log`), `rustBatch_error_config`,
#'   `rustBatch_error_image`, `rustBatch_error_docker_missing`,
#'   `rustBatch_error_docker_daemon`, `rustBatch_error_docker_permission`,
#'   `rustBatch_error_provision` and `rustBatch_error_timed_out`. All have the
#'   class `rustBatch_error`.
#' @examplesIf system("docker image inspect rocker/r-ver:4.4 >/dev/null 2>&1") == 0
#' image <- buildWorkerImage(
#'   "rocker/r-ver:4.4",
#'   list(sysPackages = "libxml2-dev", rPackages = c("xml2", "data.table"))
#' )
#' image
#' @examples
#' # What is wrong is found before Docker is asked.
#' tryCatch(
#'   buildWorkerImage("rocker/r-ver:4.4", list(rPackages = "no name")),
#'   rustBatch_error_config = function(e) cat(conditionMessage(e))
#' )
#' @export
buildWorkerImage <- function(base, packages = list(), push = FALSE, tag = NULL, context = NULL) {
  check_text(base, "base")
  if (!is.null(tag)) check_text(tag, "tag")
  if (!is.null(context)) check_text(context, "context")
  if (!isTRUE(push) && !isFALSE(push)) {
    abort("config", "`push` of buildWorkerImage() is neither TRUE nor FALSE")
  }
  if (anyDuplicated(names(packages))) {
    twice <- names(packages)[anyDuplicated(names(packages))]
    abort("config", paste0("The field `", twice, "` was given to buildWorkerImage() twice"))
  }
  build <- image_build(base, packages, worker_executable(), tag, context, push)
  on.exit(image_cancel(build))
  repeat {
    said <- image_wait(build)
    for (line in said$lines) message(line)
    if (!is.null(said$name)) return(said$name)
  }
}

check_text <- function(x, name) {
  if (!is.character(x) || length(x) != 1L || is.na(x) || !nzchar(trimws(x))) {
    what <- paste0("`", name, "` of buildWorkerImage()")
    abort("config", paste0(what, " is ", what_it_is(x), ", not one text"))
  }
}
