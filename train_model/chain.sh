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

# Runs one training of `lengths`, the steps of those to come, with its share of $hours if these are given: in
# proportion to these steps. FEWSLICE_CHAIN tells it what follows. Fine-tuning takes as many steps as the baseline before
# it, so that the two can be compared; $FEWSLICE_CHAIN_STEPS is a file into which a training with hours writes its steps.
training() {
  local own=${lengths[0]} later=0 each share=()
  lengths=("${lengths[@]:1}")
  for each in ${lengths[@]+"${lengths[@]}"}; do [[ "$each" =~ ^[0-9]{1,9}$ ]] && later=$((later + 10#$each)); done
  FEWSLICE_CHAIN="$later steps"
  if [[ -n "$hours" ]]; then
    all=${all:-$((own + later))}
    share=("--hours=$(LC_ALL=C awk "BEGIN {printf \"%.4g\", $hours * $own / $all}")")
    FEWSLICE_CHAIN="$(LC_ALL=C awk "BEGIN {print $hours * $later / $all}") hours"
    FEWSLICE_CHAIN_STEPS=${FEWSLICE_CHAIN_STEPS:-$(mktemp)}
    if [[ "$1" != ft_* ]]; then
      : > "$FEWSLICE_CHAIN_STEPS"
    elif [[ -s "$FEWSLICE_CHAIN_STEPS" ]]; then
      share=("--n_iter=$(< "$FEWSLICE_CHAIN_STEPS")" --noextend)
    fi
  fi
  stage "$@" ${share[@]+"${share[@]}"}
  FEWSLICE_CHAIN='0 steps'
}

# Refuses --hours beside flags that set steps, and what is no number above 0.
check_hours() {
  if [[ -n "$1" && ! "$1" =~ ^0*[0-9]*\.?[0-9]+$ || "$1" =~ ^[0.]+$ ]]; then
    echo "ERROR: --hours=$1 must be a number above 0, such as 3 or 0.5." >&2
    exit 1
  fi
  if [[ -n "$1" && -n "$2" ]]; then
    echo "ERROR: --hours and numbers of steps both set the length of the trainings. Give one of them." >&2
    exit 1
  fi
}

# Refuses a Python without the packages of this software, before the first of its traces.
need_environment() {
  if ! "$python" -c 'import absl' 2> /dev/null; then
    echo "ERROR: $python lacks the packages of this software: its environment is not active. Activate it (source" >&2
    echo ".venv/bin/activate in the checkout, or conda activate fewslice), or name its Python: PYTHON=.venv/bin/python" >&2
    exit 1
  fi
  need_environment() { :; }
}

# Runs Python in a process group of its own, which gets the signals that end this shell; training saves and stops then.
run() {
  local status=0
  need_environment
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

child='' signal='' hours='' all=''
on_signal() {
  signal=$((128 + $2))
  if [[ -n "$child" ]]; then kill -"$1" -- "-$child" 2>/dev/null || true; else exit "$signal"; fi
}
trap 'on_signal HUP 1' HUP
trap 'on_signal INT 2' INT
trap 'on_signal TERM 15' TERM
trap 'rm -f "$FEWSLICE_CHAIN_STEPS"' EXIT
export FEWSLICE_CHAIN='0 steps' FEWSLICE_CHAIN_STEPS='' # a script ends when its shell has been killed

python=${PYTHON:-python}
case "$python" in */*) python=$(absolute "$python") ;; esac
