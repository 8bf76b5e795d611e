#!/bin/sh
# Build libllama + the ggml CPU backend (no GPU needed) from any vendored source of llama.cpp, then the probe: WORKDIR/memprobe.
# usage: build.sh WORKDIR [SOURCE]        (needs: a C/C++ compiler, python3, pip; cargo for a crate)
#   SOURCE  as in source.sh; pypi:0.3.36, which has 0.5.0, where none is named
# environment: JOBS (2)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?usage: build.sh WORKDIR [SOURCE]}
source=${2:-pypi:${LLAMA_CPP_PYTHON:-0.3.36}}
jobs=${JOBS:-2}
mkdir -p "$work"; cd "$work"; work=$(pwd)
src=$(sh "$here/source.sh" "$work" "$source")
PATH="$work/venv/bin:$PATH"; export PATH
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
