#!/bin/sh
# setup.sh: from a machine with nothing but a shell to a running RepairLab.
#
#   ./setup.sh demo         install what is missing, check it, repair a failing project before your eyes
#   ./setup.sh test [ARG…]  run all tests, several at a time (pytest takes the ARGs; -n 0 runs one after the other)
#   ./setup.sh check        run the linters alone
#   ./setup.sh venv         only make .venv, with everything that the tests need
#
# What is missing from the system is installed by one printed apt-get line; NO_APT=1 forbids that, and then this script
# goes on with what is there or says exactly what is lacking. It writes .venv and nothing else: no other interpreter's
# packages are touched. Packages come from deploy/lock/*.txt, hash-pinned, through uv where it is there and pip where
# not, with whatever index the machine's own settings of uv and pip name. A second run finds its stamp and is quick.
#
# Environment: NO_APT=1; PYTHON=…, the interpreter to use; NO_UV=1, use pip. Exit: 64 usage, 69 something is lacking.
set -eu
# An absolute path without symlinks: it goes into .venv, and a tree that was copied must not run the original's code.
ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$ROOT"
PROGRAM=setup
VENV=$ROOT/.venv
PY=$VENV/bin/python
# shellcheck source=deploy/environment.sh
. deploy/environment.sh

usage() {
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
}

# --- the system ------------------------------------------------------------------------------------------------------

find_python() {
    # shellcheck disable=SC2086  # a list of names
    first_usable ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3}
}

# Debian's name of the package family of an interpreter: python3 for /usr/bin/python3, python3.12 for another, nothing
# for one that did not come from Debian (its headers are its owner's business).
family() {
    case $(readlink -f "${1:-/}") in
        /) newest_packaged ;;
        "$(readlink -f /usr/bin/python3)") echo python3 ;;
        /usr/bin/python3.*) basename "$(readlink -f "$1")" ;;
    esac
}

# With no usable interpreter: the distribution's own python3 if it is new enough, else the oldest one that is.
newest_packaged() {
    default=$(apt-cache policy python3 2>/dev/null | sed -n 's/.*Candidate: 3\.\([0-9]*\).*/\1/p')
    if [ "${default:-11}" -ge 11 ]; then
        echo python3
        return
    fi
    for minor in 11 12 13 14; do
        if [ -n "$(apt-cache show "python3.$minor" 2>/dev/null)" ]; then
            echo "python3.$minor"
            return
        fi
    done
    echo python3 # nothing better is known; find_python says so after the installation
}

# The names of the packages that are missing for $1 (demo or test), and nothing that is there already under any name.
missing() {
    python=$(find_python)
    family=$(family "$python")
    [ -n "$python" ] || printf '%s ' "$family"
    if [ -z "$python" ] || { ! makes_venv "$python" && ! use_uv; }; then printf '%s ' "${family:-python3}-venv"; fi
    [ -e /etc/ssl/certs/ca-certificates.crt ] || printf 'ca-certificates '
    have bwrap || printf 'bubblewrap '
    works_with_systemd "$PY" || compilers "$family" "$python"
    [ "$1" = test ] || return 0
    # The Debian package is made for /usr/bin/python3, whatever runs the tests.
    have dh && have dpkg-buildpackage || printf 'debhelper '
    compilers python3 /usr/bin/python3
    makes_venv /usr/bin/python3 || printf 'python3-venv '
    have git || printf 'git '
    have patch || printf 'patch '
    have systemd-analyze || printf 'systemd '
    have systemd-nspawn || printf 'systemd-container ' # a machine of its own for tests/system
    have mkfs.ext4 || [ -x /sbin/mkfs.ext4 ] || printf 'e2fsprogs '
    have mkfs.xfs || [ -x /sbin/mkfs.xfs ] || printf 'xfsprogs '
    have mkfs.btrfs || [ -x /sbin/mkfs.btrfs ] || printf 'btrfs-progs '
    have bindfs || printf 'bindfs ' # a file system behind which others change files without an event
    have strace || printf 'strace ' # what the kernel is asked, counted
    have man || printf 'man-db '
    have nq || printf 'nq ' # peers of `make bench`, which goes on without them
    have tsp || printf 'task-spooler '
}

# What is missing to build systemd-python for interpreter $2, of which Debian's package family $1 has the headers.
compilers() {
    have cc || have gcc || printf 'gcc '
    [ -e /usr/include/stdlib.h ] || printf 'libc6-dev '
    have pkg-config || printf 'pkg-config '
    pkg-config --exists libsystemd 2>/dev/null || printf 'libsystemd-dev '
    if [ -n "$1" ] && { [ -z "$2" ] || ! has_headers "$2"; }; then printf '%s ' "$1-dev"; fi
}

# The prefix that makes apt-get work: nothing for root, sudo for one whom sudo obeys without typing or at a terminal.
privilege() {
    [ "$(id -u)" != 0 ] || return 0
    have sudo || return 1
    if sudo -n true 2>/dev/null || { [ -t 0 ] && [ -t 2 ] && sudo -v; }; then echo sudo; else return 1; fi
}

install_packages() {
    packages=$(missing "$1")
    packages=${packages% }
    [ -n "$packages" ] || return 0
    line="apt-get install -y --no-install-recommends $packages"
    if [ -n "${NO_APT:-}" ]; then
        say "NO_APT is set; going on without: $packages"
    elif ! have apt-get; then
        say "this is no Debian; going on without what Debian calls: $packages"
    elif ! sudo=$(privilege); then
        say "neither root nor sudo; going on without: $packages"
        say "to have them, run as root: $line"
    else
        # With the lists of packages gone (a fresh image) the names in `missing` were guesses: fetch, then look again.
        if ! known "${packages%% *}"; then
            refresh "$sudo"
            packages=$(missing "$1")
            packages=${packages% }
            line="apt-get install -y --no-install-recommends $packages"
        fi
        say "$line"
        # shellcheck disable=SC2086  # several words on purpose
        apt "$sudo" $line || { refresh "$sudo" && apt "$sudo" $line; } || say "apt-get failed; going on with what is there"
    fi
}

known() { [ -n "$(apt-cache show "$1" 2>/dev/null)" ]; }
refresh() {
    say "apt-get update"
    apt "$1" apt-get -qq update || say "apt-get update failed; going on with the lists that are there"
}
apt() { # $1 is sudo or empty; stdout is kept for data
    elevate=$1
    shift
    ${elevate:+"$elevate"} env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >&2
}

# --- the virtual environment -------------------------------------------------------------------------------------------

# What .venv must have been made from: the locks, the project's own names, the interpreter, and this very directory.
fingerprint() {
    { printf '%s\n' "$1" "$2" "$ROOT"; "$2" -VV; cat "$LOCK"/*.txt pyproject.toml deploy/environment.sh; } |
        sha256sum | cut -d' ' -f1
}

make_venv() {
    python=$(find_python)
    [ -n "$python" ] || lack "no Python 3.11 or newer${PYTHON:+ in PYTHON=$PYTHON}; install one (Debian: python3 python3-venv) and set PYTHON=/path/to/it"
    stamp=$VENV/.stamp-$1
    wanted=$(fingerprint "$1" "$python")
    ready "$stamp" "$wanted" && return 0
    # The environment of the tests contains that of the demo.
    [ "$1" = runtime ] && ready "$VENV/.stamp-dev" "$(fingerprint dev "$python")" && return 0
    rm -f "$VENV"/.stamp-*
    fits "$python" || create_venv "$VENV" "$python"
    fill "$PY" "$1"
    # Editable: the programs run the sources of this tree. Nothing is fetched, build.txt is there already.
    fetch "$PY" --no-deps --no-build-isolation -e . || lack "the project could not be installed into .venv; see above"
    printf '%s\n' "$wanted" >"$stamp"
}

ready() { [ -x "$PY" ] && [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# An environment fits if it runs, stands where it was made (its scripts name their directory) and is of this Python.
fits() {
    [ "$("$PY" -c 'import sys; print(sys.prefix)' 2>/dev/null)" = "$VENV" ] &&
        grep -qF "$VENV" "$VENV/bin/activate" 2>/dev/null &&
        [ "$("$PY" -VV)" = "$("$1" -VV)" ]
}

# --- the commands ------------------------------------------------------------------------------------------------------

demo() {
    install_packages demo
    make_venv runtime
    "$PY" bin/repairlab doctor || say "doctor found something wrong; the demo goes on and may be refused"
    exec "$PY" bin/repairlab demo "$@"
}

tests() {
    install_packages test
    make_venv dev
    # Many tests wait for a machine or a back-off: one process more than there are cores, but no herd of machines.
    side_by_side=$(($(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1))
    [ "$side_by_side" -le 6 ] || side_by_side=6
    exec "$PY" -m pytest -n "$side_by_side" --dist loadfile --no-loadscope-reorder "$@"
}

check() {
    make_venv dev
    verdict=0 # each linter speaks before any of them decides
    "$VENV/bin/ruff" check || verdict=1
    "$VENV/bin/ruff" format --check || verdict=1
    "$VENV/bin/mypy" || verdict=1
    "$VENV/bin/lint-imports" || verdict=1
    return $verdict
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
    demo) demo "$@" ;;
    test) tests "$@" ;;
    check) install_packages test && check ;;
    venv) install_packages test && make_venv dev ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 64
        ;;
esac
