# Installs R packages, by base R alone. Standard input says what, in lines of a key and a value; the
# answer goes to descriptor 4: the libraries, or of a failure the package, the reason and its log.
# The status then is 10, or 11 where what was printed last is the log. What is printed is for who
# watches.

from <- file("stdin", "r")
lines <- readLines(from, warn = FALSE)
close(from)
asked <- function(key) substring(lines[startsWith(lines, paste0(key, " "))], nchar(key) + 2L)

answer <- function(lines) {
  to <- file("/dev/fd/4", "w", raw = TRUE)
  on.exit(close(to))
  writeLines(enc2utf8(lines), to, useBytes = TRUE)
}
fail <- function(package, reason, log = character(), printed = FALSE) {
  answer(c(package, gsub("[[:space:]]+", " ", reason), utils::tail(log, 15L)))
  quit("no", if (printed) 11L else 10L)
}
say <- function(...) message("rustbatch-worker: ", ...)

cores <- as.integer(asked("cores"))
.libPaths(unique(c(asked("library"), asked("beside"), .libPaths())))
target <- .libPaths()[1L]
# A package of hundreds of megabytes takes its time.
options(timeout = 3600)

version_in <- function(package, libraries = .libPaths()) {
  for (file in file.path(libraries, package, "DESCRIPTION")) {
    if (file.exists(file)) return(read.dcf(file, "Version")[[1L]])
  }
  NA_character_
}
lacking <- function(packages) packages[is.na(vapply(packages, version_in, ""))]

# ---- repositories --------------------------------------------------------------------------------

repositories <- asked("repository")
if (!length(repositories)) {
  repositories <- getOption("repos")
  repositories[repositories == "@CRAN@"] <- "https://cloud.r-project.org"
}
repositories <- unname(repositories)
type <- if (identical(getOption("pkgType"), "both")) "source" else getOption("pkgType")

index_of <- function(url, filters = NULL) {
  old <- options(timeout = 30)
  on.exit(options(old))
  utils::available.packages(utils::contrib.url(url, type), type = type, filters = filters)
}
# What they offer; why one could not be asked stands in the attribute `silent`, by its URL.
offers <- function(urls) {
  silent <- list()
  for (url in urls) {
    note <- function(condition) silent[[url]] <<- conditionMessage(condition)
    tryCatch(index_of(url), error = note, warning = note)
  }
  urls <- setdiff(urls, names(silent))
  offered <- if (length(urls)) index_of(urls) else matrix("", 0L, 0L)
  structure(offered, silent = silent, asked = urls)
}
why_not_offered <- function(package, offered) {
  silent <- attr(offered, "silent")
  if (length(silent)) {
    return(sprintf("can't reach the repository %s: %s", names(silent)[1L], silent[[1L]]))
  }
  urls <- attr(offered, "asked")
  all <- index_of(urls, character())
  if (package %in% rownames(all)) {
    return(sprintf(
      "it needs another R or another system (its `Depends` are: %s); this is R %s on %s",
      all[package, "Depends"], getRversion(), .Platform$OS.type
    ))
  }
  paste("there is no such package at", paste(urls, collapse = ", "))
}

# ---- what is needed ------------------------------------------------------------------------------

# What a package depends on, as names with the least version, "0" where any will do.
needs_of <- function(package, offered) {
  said <- offered[package, c("Depends", "Imports", "LinkingTo")]
  said <- trimws(unlist(strsplit(said[!is.na(said)], ",")))
  said <- said[nzchar(said)]
  names <- sub("[[:space:](].*", "", said)
  least <- ifelse(grepl(">=", said), gsub(".*>=[[:space:]]*|[[:space:]]*\\).*", "", said), "0")
  least <- stats::setNames(least, names)
  least[names(least) != "R"]
}
# The packages to install, with all that they need and that is missing or too old.
closure <- function(packages, offered) {
  todo <- character()
  queue <- stats::setNames(rep("", length(packages)), packages)
  while (length(queue)) {
    package <- names(queue)[1L]
    if (!package %in% rownames(offered)) {
      reason <- why_not_offered(package, offered)
      if (nzchar(queue[[1L]])) reason <- sprintf("%s (`%s` needs it)", reason, queue[[1L]])
      fail(package, reason)
    }
    queue <- queue[-1L]
    todo <- c(todo, package)
    needs <- needs_of(package, offered)
    there <- vapply(names(needs), version_in, "")
    enough <- numeric_version(ifelse(is.na(there), "0", there)) >= numeric_version(needs)
    old <- is.na(there) | !enough
    more <- setdiff(names(needs)[old], c(todo, names(queue)))
    queue <- c(queue, stats::setNames(rep(package, length(more)), more))
  }
  todo
}

# ---- installing ----------------------------------------------------------------------------------

install <- function(packages, urls = repositories) {
  packages <- lacking(packages)
  if (!length(packages)) return(invisible())
  if (file.access(target, 2L) != 0L) fail(packages[1L], paste("can't write to the library", target))
  offered <- offers(urls)
  todo <- closure(packages, offered)
  for (package in todo) say("installing the R package ", package, " ", offered[package, "Version"])
  folder <- tempfile("install-")
  dir.create(folder)
  said <- character()
  withCallingHandlers(
    if (length(todo) > 1L) {
      # Several at a time, each with its output in a file, which is shown when it is done.
      utils::install.packages(todo, target, attr(offered, "asked"),
        available = offered, type = type, dependencies = FALSE, destdir = folder,
        Ncpus = max(2L, cores), keep_outputs = folder
      )
    } else {
      if (!nzchar(Sys.getenv("MAKEFLAGS"))) Sys.setenv(MAKEFLAGS = paste0("-j", cores))
      utils::install.packages(todo, target, attr(offered, "asked"),
        available = offered, type = type, dependencies = FALSE, destdir = folder
      )
    },
    warning = function(w) {
      said <<- c(said, conditionMessage(w))
      invokeRestart("muffleWarning")
    }
  )
  examine(todo, offered, folder, said)
}
# Fails when a package is not there; first for one that was tried, then for one that needs it.
examine <- function(todo, offered, folder, said) {
  there <- vapply(todo, version_in, "", libraries = target)
  bad <- todo[is.na(there) | there != offered[todo, "Version"]]
  if (!length(bad)) return(invisible())
  logs <- file.path(folder, paste0(bad, ".out"))
  tried <- file.exists(logs)
  if (any(tried)) {
    fail(bad[tried][1L], "its installation failed", readLines(logs[tried][1L], warn = FALSE))
  }
  if (any(grepl("download", said))) fail(bad[1L], paste(said, collapse = "; "))
  fail(bad[1L], "its installation failed", printed = TRUE)
}

bioconductor <- function(packages) {
  packages <- lacking(packages)
  if (!length(packages)) return(invisible())
  install("BiocManager")
  urls <- tryCatch(BiocManager::repositories(), error = function(e) {
    fail(packages[1L], paste("Bioconductor does not name its repositories:", conditionMessage(e)))
  })
  install(packages, unique(c(repositories, unname(urls))))
}

# Whether what is asked for stands in a library, by what `remotes` notes of it.
is_from_github <- function(asked) {
  reference <- if (grepl("@", asked)) sub(".*@", "", asked) else "HEAD"
  path <- strsplit(sub("@.*", "", asked), "/")[[1L]]
  noted <- c("RemoteUsername", "RemoteRepo", "RemoteSubdir", "RemoteRef")
  for (file in Sys.glob(file.path(.libPaths(), "*", "DESCRIPTION"))) {
    found <- read.dcf(file, noted)[1L, ]
    folder <- if (length(path) > 2L) paste(path[-(1:2)], collapse = "/") else NA
    if (identical(unname(found), c(path[1:2], folder, reference))) return(TRUE)
  }
  FALSE
}
github <- function(packages) {
  packages <- Filter(Negate(is_from_github), packages)
  if (!length(packages)) return(invisible())
  install("remotes")
  # Where GitHub's own machines, and those of a company's GitHub, have its address.
  host <- Sys.getenv("GITHUB_API_URL", "api.github.com")
  for (package in packages) {
    say("installing the R package ", package, " from GitHub")
    tryCatch(
      remotes::install_github(package, host = host, upgrade = "never", repos = repositories),
      error = function(e) fail(package, conditionMessage(e), printed = TRUE)
    )
  }
}

switch(asked("do"),
  look = answer(.libPaths()),
  # What is known to be nowhere is said before anything is downloaded. A repository that can't be
  # asked now may be there later.
  check = {
    missing <- lacking(asked("cran"))
    offered <- if (length(missing)) offers(repositories)
    lost <- setdiff(missing, rownames(offered))
    known <- length(lost) && !length(attr(offered, "silent"))
    if (known) fail(lost[1L], why_not_offered(lost[1L], offered))
  },
  install = {
    install(asked("cran"))
    bioconductor(asked("bioconductor"))
    github(asked("github"))
  }
)
