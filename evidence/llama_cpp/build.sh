#!/bin/sh
# Build libllama + the ggml CPU backend (no GPU needed) from any vendored source of llama.cpp, then the probe: WORKDIR/memprobe.
# usage: build.sh WORKDIR [SOURCE]        (needs: a C/C++ compiler, python3, pip; cargo for a crate)
#   SOURCE  pypi:VERSION          the source package of llama-cpp-python; pypi:0.3.36, which has 0.5.0, where none is named
#           crate:NAME@VERSION    a crate that vendors llama.cpp: crate:llama-cpp-sys-2@0.1.161 has 0.6.0, crate:llama-cpp-sys-4@0.11.0 has 0.8.0
#           DIRECTORY             the sources themselves
# environment: JOBS (2)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?usage: build.sh WORKDIR [SOURCE]}
source=${2:-pypi:${LLAMA_CPP_PYTHON:-0.3.36}}
jobs=${JOBS:-2}
mkdir -p "$work"; cd "$work"; work=$(pwd)
[ -d venv ] || { python3 -m venv venv; venv/bin/pip -q install cmake ninja gguf numpy scikit-build-core; }
PATH="$work/venv/bin:$PATH"; export PATH
case "$source" in
pypi:*)
  ver=${source#pypi:}
  [ -d "llama_cpp_python-$ver" ] || {
    pip download -q --no-binary llama-cpp-python --no-deps --no-build-isolation "llama-cpp-python==$ver"
    tar xzf "llama_cpp_python-$ver.tar.gz"; }
  src="$work/llama_cpp_python-$ver/vendor/llama.cpp" ;;
crate:*@*)
  name=${source#crate:}; ver=${name#*@}; name=${name%@*}
  [ -d "vendor/$name" ] || {
    mkdir -p crate/src; : > crate/src/lib.rs
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$name" "$ver" > crate/Cargo.toml
    (cd crate && cargo vendor -q ../vendor > /dev/null); }
  src="$work/vendor/$name/llama.cpp" ;;
*) src=$(cd "$source" && pwd) ;;
esac
# What runs is host code that plans memory: it is built as fast as it can be, without the instruction sets of this machine.
nice -n 5 cmake -G Ninja -S "$src" -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O0 -DCMAKE_CXX_FLAGS_RELEASE=-O0 \
  -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_BACKEND_DL=OFF -DGGML_CPU_REPACK=OFF \
  -DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF -DGGML_BMI2=OFF \
  -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_CURL=OFF
nice -n 5 cmake --build build -j "$jobs" --target llama
python3 "$here/extract_cuda.py" "$src" > build/cuda_host.inc
python3 "$here/extract_fit.py" "$src" > build/fit_host.inc
nice -n 5 g++ -std=c++17 -O1 -Wall -Wno-unused-function -Wno-unused-variable -Ibuild -Ibuild/src "$here/memprobe.cpp" -o memprobe \
  -I"$src/include" -I"$src/src" -I"$src/common" -I"$src/ggml/include" -I"$src/ggml/src" -Lbuild/bin -lllama -lggml -lggml-base -lggml-cpu -Wl,-rpath,'$ORIGIN/build/bin'
