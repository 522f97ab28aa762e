# SPDX-License-Identifier: BSD-3-Clause
# A toolchain file: cmake --toolchain tools/presets/aarch64.cmake -S . -B build-arm
# Builds for 64-bit Arm on another machine, with the cross compiler and the folder of arm64 libraries that `tools/install-deps --arm` fetches
# (build-arm/sysroot, or where the environment variable SYZYGY_ARM_SYSROOT points). On an Arm machine it is not needed.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
if(DEFINED ENV{SYZYGY_ARM_SYSROOT})
  set(CMAKE_SYSROOT $ENV{SYZYGY_ARM_SYSROOT})
else()
  get_filename_component(CMAKE_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../../build-arm/sysroot ABSOLUTE)
endif()
set(CMAKE_FIND_ROOT_PATH ${CMAKE_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(LIBRARIES ${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu)

# Libraries name others that only they use: the linker looks for those here.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${LIBRARIES}/blis-openmp:${LIBRARIES}/lapack:${LIBRARIES}/openmpi/lib")

# pkg-config answers for the folder.
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CMAKE_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${LIBRARIES}/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig)

# CMake asks the compiler wrappers of MPI and HDF5, which would answer for this machine.
set(MPI_C_COMPILER ${CMAKE_C_COMPILER} CACHE STRING "")
set(MPI_C_LIB_NAMES mpi CACHE STRING "")
set(MPI_mpi_LIBRARY ${LIBRARIES}/openmpi/lib/libmpi.so CACHE FILEPATH "")
set(MPI_C_COMPILER_INCLUDE_DIRS ${LIBRARIES}/openmpi/include CACHE STRING "")
set(HDF5_C_COMPILER_EXECUTABLE HDF5_C_COMPILER_EXECUTABLE-NOTFOUND CACHE FILEPATH "")
set(HDF5_NO_FIND_PACKAGE_CONFIG_FILE ON)
set(HDF5_ROOT ${LIBRARIES}/hdf5/openmpi)
set(HDF5_C_INCLUDE_DIR ${CMAKE_SYSROOT}/usr/include/hdf5/openmpi CACHE PATH "")
