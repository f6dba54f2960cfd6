# shellcheck shell=bash
# What `tools/setup --e2e` adds for ECS: moto, an AWS account on this machine, from PyPI. Sourced.

moto_version=5.2.5

setup_moto() {
  local folder="$cache/moto" python
  python=$(command -v python3) || { apt_install python3 python3-venv; python=python3; }
  [[ "$(moto_there "$folder")" != "$moto_version" ]] || return 0
  say "Installing moto $moto_version into $folder (about a minute) ..."
  rm -rf "$folder"
  mkdir -p "$cache"
  # Debian's Python comes without it.
  "$python" -m venv "$folder" >"$cache/moto.log" 2>&1 || {
    apt_install python3-venv
    rm -rf "$folder"
    "$python" -m venv "$folder" >"$cache/moto.log" 2>&1
  } || die "$(tail -n 5 "$cache/moto.log")"
  "$folder/bin/pip" install --quiet "moto[server]==$moto_version" >>"$cache/moto.log" 2>&1 ||
    die "$(tail -n 5 "$cache/moto.log")
moto could not be installed. The log is also in $cache/moto.log"
}

# The version that is there; nothing where there is none.
moto_there() {
  "$1/bin/python" -c 'import importlib.metadata as m; print(m.version("moto"))' 2>/dev/null || true
}
