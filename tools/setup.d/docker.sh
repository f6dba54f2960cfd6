# shellcheck shell=bash
# What `tools/setup --e2e` adds: a Docker daemon, and plain images that need no registry. Sourced.

# The images: name, and the Debian packages beyond the least. Their tag is the Debian they are of.
# Bullseye has the C library of Ubuntu 20.04's age: 2.31.
e2e_images() {
  say "rustbatch-test-r:bookworm r-base-core"
  say "rustbatch-test-redis:bookworm redis-server"
  say "rustbatch-test-r:bullseye r-base-core"
  say "rustbatch-test-ssh:bookworm r-base-core openssh-server"
}

# Whether there are a Docker daemon that answers and all of the images.
e2e_is_set_up() {
  local name _
  while read -r name _; do
    docker image inspect "$name" >/dev/null 2>&1 || return 1
  done < <(e2e_images)
}

setup_docker() {
  local missing=()
  if ! docker info >/dev/null 2>&1; then
    if ! have docker || ! have dockerd; then missing+=(docker.io); fi
  fi
  have debootstrap || missing+=(debootstrap)
  have ssh || missing+=(openssh-client)
  # Ubuntu's debootstrap comes without the keys of Debian.
  [[ -f /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
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
    docker image inspect "$name" >/dev/null 2>&1 || build_image "$name" "$packages"
  done < <(e2e_images)
}

# build_image NAME:RELEASE PACKAGES: made by debootstrap, from Debian's packages alone.
build_image() {
  local name=$1 packages=$2 log="$cache/${1/:/-}.log" folder
  mkdir -p "$cache"
  say "Building the image $name (about a minute) ..."
  folder=$(mktemp -d)
  # In a subshell of its own, so that the folder is removed whatever happens.
  (
    trap 'as_root rm -rf "$folder"' EXIT
    as_root debootstrap --variant=minbase --include="${packages// /,}" \
      "${name#*:}" "$folder" http://deb.debian.org/debian >"$log" 2>&1 </dev/null ||
      die "$(tail -n 5 "$log")
The image could not be made. The log is also in $log"
    as_root rm -rf "$folder"/var/cache/apt/archives "$folder"/var/lib/apt/lists
    as_root tar -C "$folder" --one-file-system -c . |
      docker import - "$name" >/dev/null
  ) || exit 1
}
