#!/usr/bin/env bash
# Install what rows of `make bench` need and Python's packages do not bring: Go, which builds Benthos; servers are those of the tests.
set -euo pipefail
"$(dirname "$0")/../tests/servers/install.sh"
command -v go >/dev/null && exit
command -v apt-get >/dev/null || { echo "the row of Benthos needs Go: install it with this system's packages" >&2; exit 1; }
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends golang-go >/dev/null
