# SPDX-License-Identifier: BSD-3-Clause
# cmake -C tools/presets/release.cmake -S . -B build
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
set(SYZ_FAULTS OFF CACHE BOOL "")
set(SYZ_SANITIZE OFF CACHE BOOL "")
