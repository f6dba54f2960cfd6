# shellcheck shell=bash
# What `tools/setup --e2e` adds: a Docker daemon, and plain images that need no registry. Sourced.

# The images: name, and the Debian packages beyond the least. Their tag is the Debian they are of.
e2e_release=bookworm
e2e_images() {
  say "rustbatch-test-r r-base-core"
  say "rustbatch-test-redis redis-server"
}

setup_docker() {
  local missing=()
  if ! docker info >/dev/null 2>&1; then
    if ! have docker || ! have dockerd; then missing+=(docker.io); fi
  fi
  have debootstrap || missing+=(debootstrap)
  ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
  start_docker
  build_images
}

# Starts a daemon where none answers; it stays.
start_docker() {
  local log="$cache/dockerd.log" deadline=$((SECONDS + 60)) said
  ! docker info >/dev/null 2>&1 || return 0
  [[ ! -d /run/systemd/system ]] || as_root systemctl start docker || true
  if ! docker info >/dev/null 2>&1; then
    [[ $(id -u) == 0 ]] || die "No Docker daemon answers, and only root can start one:
$(docker info 2>&1 | tail -n 1)"
    say "Starting dockerd, its log is $log"
    mkdir -p "$cache"
    nohup dockerd >"$log" 2>&1 </dev/null &
  fi
  until said=$(docker info 2>&1 >/dev/null); do
    ((SECONDS < deadline)) || die "No Docker daemon answers within 60 s: $said
$(tail -n 5 "$log" 2>/dev/null)"
    sleep 0.2
  done
}

build_images() {
  local name packages
  while read -r name packages; do
    docker image inspect "$name:$e2e_release" >/dev/null 2>&1 || build_image "$name" "$packages"
  done < <(e2e_images)
}

# build_image NAME PACKAGES: made by debootstrap from this machine's Debian mirror.
build_image() {
  local name=$1 packages=$2 folder
  say "Building the image $name (about a minute) ..."
  folder=$(mktemp -d)
  # In a subshell of its own, so that the folder is removed whatever happens.
  (
    trap 'as_root rm -rf "$folder"' EXIT
    as_root debootstrap --variant=minbase --include="${packages// /,}" \
      "$e2e_release" "$folder" >"$cache/$name.log" 2>&1 </dev/null ||
      die "$(tail -n 5 "$cache/$name.log")
The image could not be made. The log is also in $cache/$name.log"
    as_root rm -rf "$folder"/var/cache/apt/archives "$folder"/var/lib/apt/lists
    as_root tar -C "$folder" --one-file-system -c . |
      docker import - "$name:$e2e_release" >/dev/null
  ) || exit 1
}
