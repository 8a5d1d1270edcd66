# What the scripts that chain stages share; they read it with `source`, it is no command of its own.
from=$PWD
here=$(dirname "${BASH_SOURCE[1]}")
cd "$here"

# Paths are relative to where the user is.
absolute() { case "$1" in "~" | "~/"*) echo "$HOME${1#"~"}" ;; /* | "~"*) echo "$1" ;; *) echo "$from/$1" ;; esac; }

# Prints the comment at the head of the calling script.
show_help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$(basename "${BASH_SOURCE[1]}")"; }

# Runs one stage and shows its command.
stage() {
  echo
  echo "== $*"
  run "$@"
}

# Runs Python in a process group of its own, which gets the signals that end this shell; training saves and stops then.
run() {
  local status=0
  set -m
  "$python" "$@" <&0 &
  child=$!
  set +m
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do wait "$child" || status=$?; done  # a signal ends `wait`, not Python
  child=''
  if [[ -n "$signal" ]]; then exit "$signal"; fi
  return "$status"
}

child='' signal=''
on_signal() {
  signal=$((128 + $2))
  if [[ -n "$child" ]]; then kill -"$1" -- "-$child" 2>/dev/null || true; else exit "$signal"; fi
}
trap 'on_signal HUP 1' HUP
trap 'on_signal INT 2' INT
trap 'on_signal TERM 15' TERM
export FEWSLICE_CHAIN=1 # a script ends when its shell has been killed

python=${PYTHON:-python}
case "$python" in */*) python=$(absolute "$python") ;; esac
