# shellcheck shell=bash
# What the commands in tools/ share. Sourced, never run; leaves you at the root of the clone.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

cache="${XDG_CACHE_HOME:-$HOME/.cache}/rustBatch"

# One target folder for the package, the tests and the check, outside the clone.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"

# A toolchain that rustup just installed is not on the PATH of this shell yet.
[[ ! -x $HOME/.cargo/bin/cargo ]] || export PATH="$HOME/.cargo/bin:$PATH"

say() { printf '%s\n' "$*"; }
die() { say "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The R packages in the given fields of DESCRIPTION, without those that come with R.
described_packages() {
  awk -v fields="$*" '
    BEGIN { n = split(fields, f, " "); for (i = 1; i <= n; i++) wanted[f[i] ":"] = 1 }
    /^[^ \t]/ { on = ($1 in wanted); sub(/^[^:]*:/, "") }
    on { gsub(/\([^)]*\)/, ""); gsub(/,/, " "); print }
  ' DESCRIPTION | tr -s '[:space:]' '\n' |
    grep -vxE '|R|compiler|graphics|grDevices|grid|methods|parallel|splines|stats|stats4|tools|utils'
}

# A number that changes when a source of the package does.
source_sum() {
  {
    Rscript --version 2>&1
    find DESCRIPTION NAMESPACE configure cleanup R src inst man -type f \
      ! -name '*.o' ! -name '*.so' ! -name '*.a' ! -name symbols.rds \
      ! -path src/Makevars ! -path src/rustbatch-worker ! -path '*/target/*' \
      -exec cksum {} + 2>/dev/null | LC_ALL=C sort || true
  } | cksum
}

# A hang is a failure: after so many seconds the program is ended.
limit() {
  local seconds=$1
  shift
  if have timeout; then timeout --foreground -k 10 "$seconds" "$@"; else "$@"; fi
}

# Your default R library, or a personal one where that belongs to root.
r_library() {
  Rscript -e '
    library <- .libPaths()[1]
    if (file.access(library, 2) != 0) {
      library <- path.expand(strsplit(Sys.getenv("R_LIBS_USER"), ":")[[1]][1])
      dir.create(library, recursive = TRUE, showWarnings = FALSE)
    }
    cat(library)'
}

# Installs the clone's rustBatch into the given library, when the sources are newer.
install_newest() {
  local library=$1 stamp sum
  # The stamp lies in the installed package, so that it goes with it.
  stamp="$library/rustBatch/.installed-from"
  sum=$(source_sum)
  [[ ! -f $stamp || $(<"$stamp") != "$sum" ]] || return 0
  say "Installing rustBatch into $library (the first time compiles for some minutes) ..."
  mkdir -p "$cache"
  R CMD INSTALL --library="$library" . >"$cache/install.log" 2>&1 || {
    cat "$cache/install.log"
    die "rustBatch could not be installed. The log is also in $cache/install.log"
  }
  printf '%s\n' "$sum" >"$stamp"
}
