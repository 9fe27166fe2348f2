#!/bin/sh
# Makes .venv with the pinned dependencies, once: later calls compare a digest and return at once.
# An interrupted set-up is noticed (the file .venv-making) and made again from nothing.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
ready=$venv/.ready
making=$venv-making
torch_cpu_index=https://download.pytorch.org/whl/cpu

digest=$({ sed '/^\[tool/,$d' pyproject.toml; cat constraints.txt tools/setup.sh; } | cksum)
if [ ! -e "$making" ] && [ -x "$venv/bin/python" ] && [ "$(cat "$ready" 2>/dev/null)" = "$digest" ]; then
  exit 0
fi

supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

make_venv() {
  for python in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    if supported "$python" && "$python" -m venv --clear "$venv"; then
      echo "set-up: $venv from $("$python" --version)"
      return 0
    fi
  done
  echo "set-up: no Python 3.11 with the venv module was found; name one with PYTHON=/path/to/python3.11 make …" >&2
  exit 1
}

# PyPI's Linux build of torch carries 2 GB of CUDA libraries, which a machine without a GPU cannot use.
torch_index() {
  if [ "$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1 && reachable "$torch_cpu_index/torch/"; then
    echo "--extra-index-url $torch_cpu_index"
  fi
}

# pip would retry an unreachable index for minutes.
reachable() {
  "$venv/bin/python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1" >/dev/null 2>&1
}

rm -f "$ready"
if [ -e "$making" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  : >"$making"
  make_venv
fi
: >"$making"
echo "set-up: installing the pinned dependencies (minutes, the first time)"
# Variables, not -c: the constraints then hold for the build back end too, in old and new pip.
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
[ -t 1 ] && quiet= || quiet=--quiet
# shellcheck disable=SC2046,SC2086  # each is nothing or separate words
"$venv/bin/python" -m pip install $quiet --disable-pip-version-check $(torch_index) -e '.[dev]'
echo "$digest" >"$ready"
rm -f "$making"
echo "set-up: done"
