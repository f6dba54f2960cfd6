#' Say who asks a cloud
#'
#' Clusters in a cloud need nobody to call this: without it they use what AWS's own
#' tools would use (environment variables, `~/.aws`, SSO, a role). It tells at once
#' whether that works, and who you are; and it takes other credentials, for this R
#' session. Secrets are kept outside of R's memory image: they are in no `save()`,
#' `print()` or log.
#'
#' @param credentials `NULL` for what AWS's own tools would use; or the path of a
#'   `credentials.json`; or a list like one, `list(aws = list(...))`, with the
#'   fields `profile` (text, a profile of `~/.aws`), or `accessKeyId`,
#'   `secretAccessKey` and, where they are for a while only, `sessionToken`; and
#'   `region` (text, where clusters are that name none).
#' @return Who AWS takes you for, invisibly: a list of the texts `account`, `arn` and
#'   `region` (empty where none is named). It is also told as a `message()`.
#' @section Errors: `rustBatch_error_credentials` (there are none, or AWS does not take
#'   them), `rustBatch_error_config` (a field that is wrong; values are never quoted),
#'   `rustBatch_error_provision` (AWS does not answer). What was set before stays then.
#'   All have the class `rustBatch_error`.
#' @examples
#' \dontrun{
#' setCredentials()
#' setCredentials("credentials.json")
#' setCredentials(list(aws = list(profile = "work", region = "eu-central-1")))
#' }
#' # What is wrong is said without what is secret.
#' tryCatch(
#'   setCredentials(list(aws = list(secretAccessKey = "s3cret"))),
#'   rustBatch_error_config = function(e) cat(conditionMessage(e))
#' )
#' @export
setCredentials <- function(credentials = NULL) { # nolint: object_name_linter.
  is_path <- is.character(credentials) && length(credentials) == 1L && !is.na(credentials)
  if (!is.null(credentials) && !is_path && !is.list(credentials)) {
    abort("config", paste0(
      "`credentials` is ", what_it_is(credentials), "\n",
      "* It is the path of a `credentials.json`, or a list such as ",
      "`list(aws = list(profile = \"work\"))`."
    ))
  }
  if (is.list(credentials)) {
    if (!length(credentials)) credentials <- list(aws = list())
    check_fields(credentials, "setCredentials()")
    credentials <- lapply(credentials, as.list)
  }
  who <- credentials_set(
    if (is_path) path.expand(credentials), if (is.list(credentials)) credentials
  )
  region <- if (nzchar(who$region)) paste0(", region ", who$region) else ", and no region is named"
  message("AWS account ", who$account, " as ", who$arn, region)
  invisible(who)
}
