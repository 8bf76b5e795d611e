#!/bin/sh
# Build libllama + the ggml CPU backend (no GPU needed) from the llama-cpp-python source package, then the probe.
# usage: build.sh WORKDIR    (needs: a C/C++ compiler, python3, pip)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:?usage: build.sh WORKDIR}
ver=${LLAMA_CPP_PYTHON:-0.3.36}
jobs=${JOBS:-2}
mkdir -p "$work"; cd "$work"; work=$(pwd)
[ -d venv ] || { python3 -m venv venv; venv/bin/pip -q install cmake ninja gguf numpy scikit-build-core; }
PATH="$work/venv/bin:$PATH"; export PATH
[ -d "llama_cpp_python-$ver" ] || {
  pip download -q --no-binary llama-cpp-python --no-deps --no-build-isolation "llama-cpp-python==$ver"
  tar xzf "llama_cpp_python-$ver.tar.gz"; }
src="$work/llama_cpp_python-$ver/vendor/llama.cpp"
nice -n 5 cmake -G Ninja -S "$src" -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O1 -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
  -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_BACKEND_DL=OFF \
  -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF
nice -n 5 cmake --build build -j "$jobs" --target llama
python3 "$here/extract_cuda.py" "$src" > build/cuda_host.inc
nice -n 5 g++ -std=c++17 -O1 -Wall -Wno-unused-function -Ibuild -Ibuild/src "$here/memprobe.cpp" -o memprobe \
  -I"$src/include" -I"$src/src" -I"$src/ggml/include" -I"$src/ggml/src" -Lbuild/bin -lllama -lggml -lggml-base -lggml-cpu -Wl,-rpath,'$ORIGIN/build/bin'
