#!/usr/bin/env python3
"""Copy llama.cpp's own choice of a placement (`--fit`, common/fit.cpp) from a vendored source; memprobe compiles the result.
usage: extract_fit.py SOURCE > build/fit_host.inc     prints nothing where the source has none"""
import os, sys
path = os.path.join(sys.argv[1], "common", "fit.cpp")
if not os.path.exists(path): sys.exit(0)
text = open(path).read()
if "const common_fit_extra_model * extra" not in text: sys.exit(0)      # an older interface than memprobe's
def cut(start, end):
    """without what is between two beginnings of functions, where both are there"""
    global text
    a = text.find(start)
    b = text.find(end, a)
    if a >= 0 and b > a: text = text[:a] + text[b:]
text = text[text.index("enum common_layer_fraction_t"):]
cut("std::vector<common_memory_breakdown_row> common_fit_measure(", "static void common_params_fit_impl(")
cut("common_device_memory_data_vec common_get_device_memory_data(", "static void common_params_fit_impl(")
for end in ("std::vector<common_memory_breakdown_row> common_memory_breakdown_rows(", "void common_memory_breakdown_print("):
    at = text.find(end)
    if at >= 0: text = text[:at]
print("""#define HAS_FIT
#include "fit.h"
#include <array>
#include <cassert>
#include <cinttypes>
#include <set>
#include <stdexcept>
#define LOG_TRC(...)
#define LOG_INF(...)
#define LOG_DBG(...)
#define LOG_WRN(...) fprintf(stderr, __VA_ARGS__)
#define LOG_ERR(...) fprintf(stderr, __VA_ARGS__)
void common_memory_breakdown_print(const llama_context *) {}
""")
print(text)
