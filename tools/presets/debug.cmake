# SPDX-License-Identifier: BSD-3-Clause
# cmake -C tools/presets/debug.cmake -S . -B build-debug: sanitizers and injected failures
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(SYZ_FAULTS ON CACHE BOOL "")
set(SYZ_SANITIZE ON CACHE BOOL "")
