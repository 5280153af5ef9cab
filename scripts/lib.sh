# Shared by the scripts: find a Python that works, build .venv from a lock, talk to the person who waits.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
venv="${VENV:-$root/.venv}"

say() { printf '\033[1;36m==>\033[0m %s\n' "$*"; }
die() { printf '\033[1;31merror:\033[0m %s\n' "$*" >&2; exit 1; }

# Prints a Python >= 3.11 that really runs: a pyenv shim may exist and fail.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  candidate="${PYTHON:-python3}"
  die "Python 3.11 or newer is needed and is not here ($candidate is $("$candidate" -V 2>/dev/null || echo missing)):" \
    "install it, or say where it is with PYTHON=/path/to/python."
}

create_venv() {
  local python
  python="$(find_python)" || exit 1
  say "Creating .venv with $("$python" -V)"
  "$python" -m venv --clear "$venv" >/dev/null 2>&1 && return
  rm -rf "$venv"
  die "$("$python" -V) has no ensurepip: install it (Debian and Ubuntu: apt install python3-venv) and try again."
}

# uv is pinned like everything else; where it has no build or can't reach the registry, pip does the same more slowly.
# Neither removes what somebody installed beside it, such as a package with job types of their own.
install_lock() {
  local lock="$1" pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes)
  say "Installing $lock"
  [[ -x "$venv/bin/uv" ]] || "${pip[@]}" -r requirements/bootstrap.txt || true
  if ! "$venv/bin/uv" pip install --quiet --require-hashes --python "$venv/bin/python" -r "$lock" -r requirements/bootstrap.txt; then
    say "uv could not do it; trying pip, which takes longer"
    "${pip[@]}" -r "$lock"
  fi
}

# ensure_venv LOCK [WIDER LOCK]: makes .venv hold LOCK; a .venv that holds the wider one serves as well.
ensure_venv() {
  local lock stamp="$venv/.locked"
  if [[ -x "$venv/bin/python" && -f "$stamp" ]]; then
    for lock in "$@"; do [[ "$(cat "$stamp")" == "$(cksum <"$lock")" ]] && return; done
  fi
  "$venv/bin/python" -c '' >/dev/null 2>&1 || create_venv
  install_lock "$1" || die "The requirements could not be installed; the lines above say why."
  cksum <"$1" >"$stamp"
}

activate() {
  unset PYTHONDONTWRITEBYTECODE  # as container images set it: each process would compile everything anew, for seconds
  export PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv" PYTHONUNBUFFERED=1
}
