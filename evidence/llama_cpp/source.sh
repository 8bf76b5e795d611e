#!/bin/sh
# Fetches a vendored source of llama.cpp into WORKDIR and prints its folder.     usage: source.sh WORKDIR SOURCE
#   SOURCE  pypi:VERSION          the source package of llama-cpp-python: pypi:0.3.36 has 0.5.0
#           pypi:xllamacpp@VERSION        that of xllamacpp, which has llama-server's sources, too: pypi:xllamacpp@2026.10.11549 has 0.6.0
#           crate:NAME@VERSION    a crate that vendors llama.cpp: crate:llama-cpp-sys-2@0.1.161 has 0.6.0, crate:llama-cpp-sys-4@0.11.0 has 0.8.0
#           DIRECTORY             the sources themselves
# Makes WORKDIR/venv, too, with cmake, ninja and what else a build needs.     (needs: python3, pip; cargo for a crate)
set -eu
work=${1:?usage: source.sh WORKDIR SOURCE}
source=${2:?usage: source.sh WORKDIR SOURCE}
mkdir -p "$work"; work=$(cd "$work" && pwd)
case "$source" in pypi:* | crate:*@*) ;; *) source=$(cd "$source" && pwd) ;; esac
cd "$work"
[ -d venv ] || { python3 -m venv venv; venv/bin/pip -q install cmake ninja gguf numpy scikit-build-core; } >&2
PATH="$work/venv/bin:$PATH"; export PATH
case "$source" in
pypi:*@*)
  name=${source#pypi:}; ver=${name#*@}; name=${name%@*}
  [ -d "$name-$ver" ] || {
    # pip wants to build what it downloads, and fails without a compiler of its own; what it unpacked stays.
    mkdir -p unpacked
    TMPDIR=$work/unpacked pip download -q --no-clean --no-binary "$name" --no-deps --no-build-isolation "$name==$ver" > pip.log 2>&1 || true
    mv unpacked/pip-download-*/"$name"_* "$name-$ver" || { cat pip.log >&2; exit 1; }
    rm -r unpacked; }
  echo "$work/$name-$ver/thirdparty/llama.cpp" ;;
pypi:*)
  ver=${source#pypi:}
  [ -d "llama_cpp_python-$ver" ] || {
    pip download -q --no-binary llama-cpp-python --no-deps --no-build-isolation "llama-cpp-python==$ver" >&2
    tar xzf "llama_cpp_python-$ver.tar.gz"; }
  echo "$work/llama_cpp_python-$ver/vendor/llama.cpp" ;;
crate:*@*)
  name=${source#crate:}; ver=${name#*@}; name=${name%@*}
  [ -d "vendor/$name" ] || {
    mkdir -p crate/src; : > crate/src/lib.rs
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$name" "$ver" > crate/Cargo.toml
    (cd crate && cargo vendor -q ../vendor > /dev/null); }
  echo "$work/vendor/$name/llama.cpp" ;;
*) echo "$source" ;;
esac
