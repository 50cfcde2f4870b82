# What .ci/run, .ci/matrix and .ci/soak share: to be sourced, in the folder whose .venv is used.
# shellcheck shell=bash

section() { printf '\n== %s\n' "$1"; }

# Compiled modules are kept: the tests start hundreds of processes.
unset PYTHONDONTWRITEBYTECODE

# The command of a heading in README is the first fenced block under it.
readme_command() {
  awk -v heading="## $1" '$0 == heading {found = 1} found && /^```/ {inside = !inside; if (!inside) exit; next} inside' README.md
}

install() {
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -q
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"
}

need_chromium() {
  command -v chromium > /dev/null || command -v google-chrome > /dev/null || install chromium
}

need_node() {
  command -v npm > /dev/null || install nodejs npm
}

# A virtual environment of that Python with these requirements. uv keeps what the next one needs too.
environment() {
  local folder=$1 interpreter=$2
  shift 2
  [ -d "$folder" ] || "$interpreter" -m venv "$folder"
  {
    "$folder/bin/pip" install --quiet --disable-pip-version-check uv \
      && "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" "$@"
  } || "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# One in .venv with these extras, unless it has them.
need_venv() {
  local extras=$1
  [ -e ".venv/has-$extras" ] && return
  environment .venv python3 -e ".[$extras]"
  touch ".venv/has-$extras"
}

# These commands at the same time; what each said, one after the other. Fails if one does.
side_by_side() {
  local command folder number=0 status=0 pids=()
  folder=$(mktemp -d)
  for command in "$@"; do
    # shellcheck disable=SC2086 - the command is words
    $command &> "$folder/${#pids[@]}" &
    pids+=($!)
  done
  for command in "$@"; do
    wait "${pids[$number]}" || status=1
    section "$command"
    cat "$folder/$((number++))"
  done
  rm -rf "$folder"
  return "$status"
}

# Tests run side by side and beside browsers: one that failed so is run once more, alone, and named. Twice is a failure.
once_more() {
  local python=$1
  shift
  section "What failed among others, once more and alone"
  "$python" -m pytest "$@" --last-failed --last-failed-no-failures none -n 0
}

run_tests() {
  local python=$1
  shift
  "$python" -m pytest "$@" || once_more "$python" "$@"
}
