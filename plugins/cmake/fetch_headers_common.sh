# Common parts of the scripts fetch_headers.sh, which source it with: FOLDER [DESTINATION]
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
destination=${2:-$root/build/$1}
readonly root destination

work=  # a temporary directory, once there is one
cleanup() { [[ -z $work ]] || rm -rf "$work"; }
trap cleanup EXIT

say() { printf 'fetch_headers: %s\n' "$*" >&2; }

# Run "$@" with a directory appended, into which it writes the headers; move that to the destination in one
# step, so that an interrupted run leaves no partial headers.
install_headers() {
  rm -rf "$destination/include" "$destination/include.partial"
  mkdir -p "$destination/include.partial" && "$@" "$destination/include.partial" &&
    mv "$destination/include.partial" "$destination/include" &&
    say "headers are in $destination/include"
}
