#!/bin/sh
# Fetches a public CUDA build of llama.cpp v0.5.0 (npm, 143 MB) and its headers (from the source package of
# llama-cpp-python), and builds the driver against both.     usage: fetch.sh WORKDIR    (npm, pip, g++)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"; cd "$1"
[ -d package ] || { npm pack --silent @node-llama-cpp/linux-x64-cuda@3.22.1; tar xzf node-llama-cpp-linux-x64-cuda-3.22.1.tgz; }
[ -d src ] || {
  pip download -q --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
  tar xzf llama_cpp_python-0.3.36.tar.gz llama_cpp_python-0.3.36/vendor/llama.cpp
  ln -sfn llama_cpp_python-0.3.36/vendor/llama.cpp src; }
[ -d py ] || pip install -q --target py gguf numpy
bins=$PWD/package/bins/linux-x64-cuda
g++ -std=c++17 -O1 -Isrc/include -Isrc/ggml/include "$here/driver.cpp" -o driver \
  "$bins/libllama.cuda.v0.5.0.so" "$bins/libggml.cuda.v0.5.0.so" "$bins/libggml-base.so" -Wl,-rpath,"$bins"
echo "$PWD/driver"
