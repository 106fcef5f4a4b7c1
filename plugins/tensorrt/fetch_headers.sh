#!/usr/bin/env bash
# Put TensorRT's C++ headers where CMake looks for them, unless the system has them.
#
#   fetch_headers.sh [DESTINATION]      default: build/tensorrt-headers in the source tree
#
# TensorRT's wheels contain no headers, and its archives need an account. The wheel `kernel-lens` contains
# those of TensorRT 10.14 (Apache 2.0) in kernel_lens/include/tensorrt. They are extracted; the wheel is
# not installed. PYTHON is the interpreter whose pip downloads it (default: python3).
set -euo pipefail

readonly package=kernel-lens==2.0.1
readonly sha256=07cc714e8b5e7f34b672f7c7fad93febe7c747be5837ba276b1527370134ffe0
readonly python=${PYTHON:-python3}

# shellcheck source=../cmake/fetch_headers_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/fetch_headers_common.sh" tensorrt-headers "${1:-}"

have_headers() { [[ -f $1/include/NvInferRuntime.h || -f $1/include/$(uname -m)-linux-gnu/NvInferRuntime.h ]]; }

# Extract the headers of the wheel $1 into directory $2.
extract() {
  "$python" - "$1" "$2" <<'PYTHON'
import sys
import zipfile
from pathlib import Path

wheel, destination = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("kernel_lens/include/tensorrt/") and name.endswith(".h"):
            (Path(destination) / Path(name).name).write_bytes(archive.read(name))
PYTHON
}

main() {
  local place
  if [[ -n ${TENSORRT_ROOT:-} ]]; then
    have_headers "$TENSORRT_ROOT" && return 0
    say "TENSORRT_ROOT is '$TENSORRT_ROOT', under whose include/ there are no headers of TensorRT;" \
      "correct or unset it"
    return 1
  fi
  for place in "$destination" /usr /usr/local /usr/local/tensorrt; do
    have_headers "$place" && return 0
  done
  work=$(mktemp -d)
  printf '%s --hash=sha256:%s\n' "$package" "$sha256" > "$work/requirements.txt"
  if ! "$python" -m pip --disable-pip-version-check --quiet download --no-deps --require-hashes \
    --dest "$work" --requirement "$work/requirements.txt" >&2; then
    say "could not download $package with $python -m pip. Either of these helps:"
    say "  - set TENSORRT_ROOT to the directory of a TensorRT installation"
    say "  - put TensorRT's headers into $destination/include"
    return 1
  fi
  install_headers extract "$work"/*.whl
}

main
