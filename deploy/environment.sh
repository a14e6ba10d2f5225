#!/bin/sh
# environment.sh: virtual environments from the locks beside this file; sourced by setup.sh and deploy/install.
#
# Expects to run in the project's root and PROGRAM, the name to speak under. Packages come through uv where it is there
# and pip where not; the index is whatever the machine's own settings of uv and pip name.
LOCK=deploy/lock

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }
lack() {
    say "$*"
    exit 69
}
have() { command -v "$1" >/dev/null 2>&1; }

# A usable interpreter: 3.11 or newer. Its own answer counts, not its name: a shim on PATH may lead nowhere.
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The first usable interpreter of those named, as an absolute path; nothing when there is none.
first_usable() {
    for name in "$@"; do
        if have "$name" && usable "$name"; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

# Debian splits the standard library: without python3-venv there is `venv` but no `ensurepip`.
makes_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_headers() { "$1" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_paths()["include"], "Python.h")).close()' >/dev/null 2>&1; }
use_uv() { [ -z "${NO_UV:-}" ] && have uv && uv --version >/dev/null 2>&1; }
works_with_systemd() { "$1" -c 'import systemd.journal, systemd.daemon' >/dev/null 2>&1; }

# create_venv DIRECTORY PYTHON: a new environment in place of any that is there.
create_venv() {
    say "making $1 with $2"
    rm -rf "$1"
    if use_uv && UV_PYTHON_DOWNLOADS=never uv venv --quiet --no-project --python "$2" "$1"; then return; fi
    makes_venv "$2" || lack "$2 cannot make virtual environments; install python3-venv, or uv, or set PYTHON=/path/to/another"
    "$2" -m venv "$1" || lack "$2 -m venv $1 failed; see above"
}

# fetch PYTHON ARG…: `pip install ARG…` into its environment. uv does not read pip's settings, so where uv cannot fetch,
# pip may. Both leave byte code: in a sandbox nothing is written, so that pytest without it is compiled at every start.
fetch() {
    into=$1
    shift
    if use_uv && uv pip install --quiet --compile-bytecode --python "$into" "$@"; then return; fi
    "$into" -m pip --version >/dev/null 2>&1 || "$into" -m ensurepip >/dev/null 2>&1 || return 1
    "$into" -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

# fetch_lock PYTHON NAME [ARG…]: install deploy/lock/NAME.txt, every file proved by its hash.
fetch_lock() {
    say "installing $LOCK/$2.txt"
    interpreter=$1
    name=$2
    shift 2
    fetch "$interpreter" --require-hashes "$@" -r "$LOCK/$name.txt"
}

# systemd-python has no wheel. Without a compiler and libsystemd's headers the programs speak journald's and sd_notify's
# protocols themselves; `repairlab doctor` says which of the two is at work.
fetch_systemd() {
    works_with_systemd "$1" && return
    if have pkg-config && pkg-config --exists libsystemd && { have cc || have gcc; } && has_headers "$1"; then
        fetch_lock "$1" systemd --no-build-isolation && return
    fi
    say "systemd-python is left out (it needs gcc, pkg-config, libsystemd-dev and python3-dev): the pure-Python backend serves"
}

# fill PYTHON NAME: an environment's packages; build.txt first, since nothing may be fetched to build the others.
fill() {
    fetch_lock "$1" "$2" || lack "the packages of $LOCK/$2.txt could not be installed; see above"
    fetch_lock "$1" build || lack "the packages of $LOCK/build.txt could not be installed; see above"
    fetch_systemd "$1"
}

# drop_builders PYTHON: take away what only built the others.
drop_builders() {
    if use_uv && uv pip uninstall --quiet --python "$1" pip setuptools wheel 2>/dev/null; then return; fi
    "$1" -m pip uninstall --quiet --yes --disable-pip-version-check wheel setuptools pip 2>/dev/null || true
}
