#!/usr/bin/env bash
# Install the one server that tests need and Python's packages do not bring: Debian's clickhouse-server (18.16.1).
set -euo pipefail
command -v clickhouse-server >/dev/null || [ -x /usr/sbin/clickhouse-server ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "tests need clickhouse-server: install it with this system's packages (any version that has the native protocol)" >&2
  exit 1
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
# Nothing of ours needs the service that the package sets up: tests start servers of their own.
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends clickhouse-server >/dev/null
