#!/bin/sh
# places.sh: the options and directories that deploy/install and deploy/uninstall share; sourced by both.
#
# parse "$@" sets DESTDIR (empty, or without a trailing slash), USER_MODE, DRY, PURGE, PREFIX and the places below it.

usage() {
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p;}' "$0"
}

wrong() {
    say "$*; see --help"
    exit 64
}

parse() {
    DESTDIR='' USER_MODE='' PREFIX='' DRY='' PURGE=''
    while [ $# -gt 0 ]; do
        case $1 in
            --root | --prefix)
                [ $# -gt 1 ] || wrong "$1 takes a directory"
                if [ "$1" = --root ]; then DESTDIR=$2; else PREFIX=$2; fi
                shift
                ;;
            --root=*) DESTDIR=${1#*=} ;;
            --prefix=*) PREFIX=${1#*=} ;;
            --user) USER_MODE=1 ;;
            --dry-run) DRY=1 ;;
            --purge) [ "$PROGRAM" = uninstall ] || wrong "unknown option $1"; PURGE=1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) wrong "unknown argument $1" ;;
        esac
        shift
    done
    settle
}

settle() {
    if [ -n "$USER_MODE" ]; then : "${PREFIX:=$HOME/.local}"; else : "${PREFIX:=/usr/local}"; fi
    PREFIX=${PREFIX%/}
    # The prefix is written into units and first lines of programs, where these have a meaning of their own.
    case $PREFIX in
        /*) ;;
        *) wrong "--prefix takes an absolute path" ;;
    esac
    case $PREFIX in *[!A-Za-z0-9/._+-]*) wrong "--prefix may hold letters, digits and / . _ + - only" ;; esac
    if [ -n "$DESTDIR" ]; then
        DESTDIR=$(readlink -m "$DESTDIR")
        [ "$DESTDIR" != / ] || DESTDIR=''
    fi
    LIB=$PREFIX/lib/repairlab
    MANIFEST=$LIB/MANIFEST
    SHARE=$PREFIX/share
    # systemd looks below /usr and /usr/local only.
    if [ "$PREFIX" = /usr ]; then SYSTEM_LIB=/usr/lib; else SYSTEM_LIB=/usr/local/lib; fi
    if [ -n "$USER_MODE" ]; then
        UNITS=${XDG_DATA_HOME:-$HOME/.local/share}/systemd/user
        STATE=${XDG_STATE_HOME:-$HOME/.local/state}/repairlab
    else
        UNITS=$SYSTEM_LIB/systemd/system
        STATE=/var/lib/repairlab
    fi
}
