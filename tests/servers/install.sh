#!/usr/bin/env bash
# Install the servers that tests need and Python's packages do not bring: Debian's clickhouse-server (18.16.1) and strace, Kafka's broker (by Maven),
# PostHog's client for Node (by npm), and what Beam's DataflowRunner needs to build a job (by pip, beside .venv: users without Dataflow do not have it).
# Pub/Sub's emulator comes with Google's SDK: tests say so where it is missing.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/sluice"

has_apt() { command -v apt-get >/dev/null; }
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
apt_install() {
  if ! has_apt; then
    echo "tests need $1: install it with this system's packages" >&2
    exit 1
  fi
  $as_root apt-get update -qq
  $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Nothing of ours needs the service that the package sets up: tests start servers of their own.
command -v clickhouse-server >/dev/null || [ -x /usr/sbin/clickhouse-server ] || apt_install clickhouse-server

# Kills the engine at a chosen system call: tests/attack/deaths.py.
command -v strace >/dev/null || apt_install strace

kafka="$cache/kafka-4.1.2"
if [ ! -d "$kafka" ]; then
  command -v java >/dev/null || apt_install openjdk-17-jre-headless
  command -v mvn >/dev/null || apt_install maven
  mkdir -p "$cache"
  part="$(mktemp -d "$cache/kafka.XXXXXX")"
  mvn -q -B -Dstyle.color=never -f "$here/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$part"
  mv -T "$part" "$kafka" 2>/dev/null || rm -rf "$part"
fi

posthog="$cache/posthog-node-5.70.0"
if [ ! -d "$posthog" ]; then
  command -v npm >/dev/null || { echo "tests need Node 20 or newer with npm: install it" >&2; exit 1; }
  mkdir -p "$cache"
  part="$(mktemp -d "$cache/posthog-node.XXXXXX")"
  cp "$here/node/package.json" "$here/node/package-lock.json" "$part"
  (cd "$part" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
  mv -T "$part" "$posthog" 2>/dev/null || rm -rf "$part"
fi

dataflow="$cache/dataflow-0.13.0"
if [ ! -d "$dataflow" ]; then
  mkdir -p "$cache"
  part="$(mktemp -d "$cache/dataflow.XXXXXX")"
  "$here/../../.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$part" -r "$here/dataflow/requirements.txt"
  mv -T "$part" "$dataflow" 2>/dev/null || rm -rf "$part"
fi
