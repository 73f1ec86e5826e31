#!/bin/sh
# restore_command: fetch.sh NAME DESTINATION. Takes WAL that was brought here ahead of replay; waits for what is on its way.
# Exit 1: not in the archive, or taken before (PostgreSQL then looks in pg_wal). Exit 200: fetching failed, recovery aborts.
here=${0%/*}
if [ ! -e "$here/ready/$1" ]; then
  grep -qxF "$1" "$here/plan" || exit 1
  grep -qxF "$1" "$here/taken" && exit 1
  printf '%s %s begin\n' "$(date +%s.%N)" "$1" >>"$here/waits"
  tries=0
  until [ -e "$here/ready/$1" ]; do
    if [ -e "$here/failed" ] || [ "$tries" -ge 60000 ]; then exit 200; fi
    tries=$((tries + 1))
    sleep 0.01
  done
  printf '%s %s end\n' "$(date +%s.%N)" "$1" >>"$here/waits"
fi
case $1 in
*.history) cp "$here/ready/$1" "$2" ;; # asked for more than once
*) mv "$here/ready/$1" "$2" && printf '%s\n' "$1" >>"$here/taken" ;;
esac
