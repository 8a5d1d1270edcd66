# What the scripts that chain stages share; they read it with `source`, it is no command of its own.
from=$PWD
here=$(dirname "${BASH_SOURCE[1]}")
cd "$here"

# Paths are relative to where the user is.
absolute() { case "$1" in /*) echo "$1" ;; *) echo "$from/$1" ;; esac; }

# Prints the comment at the head of the calling script.
show_help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$(basename "${BASH_SOURCE[1]}")"; }

# Runs one stage and shows its command.
stage() {
  echo
  echo "== $*"
  "$python" "$@"
}

python=${PYTHON:-python}
case "$python" in */*) python=$(absolute "$python") ;; esac
