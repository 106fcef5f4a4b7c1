#!/usr/bin/env bash
# Put ONNX Runtime's C and C++ headers where CMake looks for them, unless the system has them.
#
#   fetch_headers.sh [DESTINATION]      default: build/onnxruntime-headers in the source tree
#
# ONNX Runtime's wheel contains no headers. A library built with headers of one version runs in that
# version and newer ones. The oldest version that has all we use, 1.21, is therefore the best.
set -euo pipefail

readonly package=libonnxruntime-dev
readonly minimum=1.21
# The first Debian suite that has the package; Debian 12 takes it from there.
readonly debian_suite=trixie
# The release to download if apt does not have the package.
readonly release=1.21.0

# shellcheck source=../cmake/fetch_headers_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/fetch_headers_common.sh" onnxruntime-headers "${1:-}"

# Succeed if the header $1 has the API of the minimum version or of a newer one.
recent() {
  awk -v minimum="${minimum#*.}" '
    /^#define ORT_API_VERSION / { ok = $3 >= minimum + 0 }
    END { exit !ok }' "$1"
}

# Print the directory under $1 that has recent enough headers; fail if there is none.
header_directory() {
  local candidate
  for candidate in "$1/include/onnxruntime/core/session" "$1/include/onnxruntime" "$1/include"; do
    if [[ -f $candidate/onnxruntime_cxx_api.h ]] && recent "$candidate/onnxruntime_c_api.h"; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# Copy the headers found under $1 to the destination.
install_from() {
  local from
  if ! from=$(header_directory "$1"); then
    say "the download contains no headers of ONNX Runtime $minimum or newer; please report this"
    return 1
  fi
  install_headers cp "$from"/*.h
}

# Write this machine's apt sources for suite $1, changed to suite $2 and components $4, into directory $3
# (deb822 and one-line formats). They keep the machine's mirrors, proxies and keys.
derive_sources() {
  local from=$1 to=$2 into=$3 components=$4 file count=0
  for file in /etc/apt/sources.list.d/*.sources; do
    [[ -f $file ]] || continue
    count=$((count + 1))
    awk -v from="$from" -v to="$to" -v components="$components" '
      function flush_stanza() {
        if (stanza != "" && deb && wanted && enabled)
          printf "%sSuites: %s\nComponents: %s\n\n", stanza, to, components
        stanza = ""; deb = 0; wanted = 0; enabled = 1; keep = 1
      }
      BEGIN { flush_stanza() }
      /^#/ { next }
      /^[ \t]*$/ { flush_stanza(); next }
      /^[ \t]/ { if (keep) stanza = stanza $0 "\n"; else read_suites($0); next }
      {
        field = tolower($1); keep = 1
        if (field == "suites:") { keep = 0; sub(/^[^:]*:/, ""); read_suites($0); next }
        if (field == "components:") { keep = 0; next }
        if (field == "enabled:" && tolower($2) ~ /^(no|false|0|off|without|disable)$/) enabled = 0
        if (field == "types:") {
          for (i = 2; i <= NF; ++i) if ($i == "deb") deb = 1
          stanza = stanza "Types: deb\n"; next
        }
        stanza = stanza $0 "\n"
      }
      END { flush_stanza() }
      function read_suites(text,   names, n, i) {
        n = split(text, names, /[ \t]+/)
        for (i = 1; i <= n; ++i) if (names[i] == from || names[i] == to) wanted = 1
      }' "$file" > "$into/$count.sources"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $file ]] || continue
    count=$((count + 1))
    awk -v from="$from" -v to="$to" -v components="$components" '
      $1 == "deb" {
        i = 2; options = ""
        if ($2 ~ /^\[/) { while (i <= NF) { options = options $i " "; if ($i ~ /\]$/) break; ++i } ++i }
        if ($(i + 1) == from || $(i + 1) == to) print "deb " options $i " " to " " components
      }' "$file" > "$into/$count.list"
  done
  find "$into" -type f -empty -delete
  [[ -n $(find "$into" -type f) ]]
}

candidate_version() {
  apt-cache "$@" policy "$package" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

new_enough() { [[ -n $1 ]] && dpkg --compare-versions "$1" ge "$minimum"; }

# Download the package with apt options "$@", and unpack it; nothing is installed.
download_package() {
  mkdir -p "$work/package" "$work/tree"
  (cd "$work/package" && apt-get -q "$@" download "$package" >&2) || return 1
  dpkg-deb -x "$work/package/$package"_*.deb "$work/tree"
  install_from "$work/tree/usr"
}

from_apt() {
  command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null || return 1
  local unsandboxed=()
  # apt's download user cannot enter our temporary directory.
  [[ $(id -u) -ne 0 ]] || unsandboxed=(-o APT::Sandbox::User=root)
  if new_enough "$(candidate_version)"; then
    download_package "${unsandboxed[@]}" && return 0
    say "apt knows $package but could not download it (stale lists?); trying with fresh ones"
  fi

  local codename distribution
  # shellcheck disable=SC1091
  codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  # shellcheck disable=SC1091
  distribution=$(. /etc/os-release && printf '%s' "${ID:-}")
  [[ -n $codename ]] || return 1
  local suite=$codename
  [[ $distribution == debian && $codename == bookworm ]] && suite=$debian_suite
  local components=main
  [[ $distribution == ubuntu ]] && components="main universe"

  # A private apt state: it leaves the machine's lists and configuration alone, and needs no root.
  local state=$work/apt
  mkdir -p "$state/sources" "$state/lists/partial" "$state/cache/archives/partial" "$state/empty"
  if ! derive_sources "$codename" "$suite" "$state/sources" "$components"; then
    say "found no apt source for '$codename' in /etc/apt to derive one for '$suite' from"
    return 1
  fi
  local options=(
    "${unsandboxed[@]}"
    -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$state/sources"
    -o Dir::Etc::Preferences=/dev/null -o "Dir::Etc::PreferencesParts=$state/empty"
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache"
    -o Acquire::Languages=none
  )
  say "reading the package list of '$suite' from this machine's own mirror (once)"
  apt-get -q "${options[@]}" update >&2 || return 1
  local candidate
  candidate=$(candidate_version "${options[@]}")
  if ! new_enough "$candidate"; then
    say "'$suite' has ${candidate:-no} $package; $minimum or newer is needed"
    return 1
  fi
  download_package "${options[@]}"
}

from_release() {
  local machine
  case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *)
      say "no official release of ONNX Runtime for $(uname -m); set ONNXRUNTIME_ROOT to your own build of it"
      return 1
      ;;
  esac
  local name=onnxruntime-linux-$machine-$release
  local url=https://github.com/microsoft/onnxruntime/releases/download/v$release/$name.tgz
  if ! command -v curl > /dev/null; then
    say "curl is needed to download $url"
    return 1
  fi
  say "downloading $url"
  curl --fail --location --silent --show-error --retry 2 --connect-timeout 20 \
    --output "$work/release.tgz" "$url" || return 1
  tar -xzf "$work/release.tgz" -C "$work" "$name/include" || return 1
  install_from "$work/$name"
}

main() {
  local place
  if [[ -n ${ONNXRUNTIME_ROOT:-} ]]; then
    if header_directory "$ONNXRUNTIME_ROOT" > /dev/null; then
      return 0
    fi
    say "ONNXRUNTIME_ROOT is '$ONNXRUNTIME_ROOT', under whose include/ there are no headers of" \
      "$minimum or newer; correct or unset it"
    return 1
  fi
  for place in "$destination" /usr /usr/local; do
    header_directory "$place" > /dev/null && return 0
  done
  work=$(mktemp -d)
  from_apt || from_release || {
    say "could not get ONNX Runtime's headers ($minimum or newer). Any of these helps:"
    say "  - install them (Debian 13 and later: apt-get install $package)"
    say "  - unpack an official release archive of ONNX Runtime and set ONNXRUNTIME_ROOT to its directory"
    say "  - put the files of its include directory into $destination/include"
    return 1
  }
}

main
