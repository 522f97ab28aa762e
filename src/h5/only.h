/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: HDF5 reads this one file and, unless it is told to, no other. See only.c. */
#pragma once

#include <hdf5.h>
#include <limits.h>

#include "syzygy/base.h"

/** The file that a reader process serves. */
typedef struct h5_only {
  int file;         /* open descriptor; stays open */
  const char *path; /* its real path, under which the library must open it */
  const char *root; /* real path of the folder below which other files may be opened too; "": none */
  void (*seen)(int64_t at, size_t bytes); /* called at every read of any file */
  char refused[PATH_MAX + 96];            /* "": no other file was asked for in vain; otherwise which, and why */
} h5_only;

/** Let files opened with this access list be read through `only` (borrowed; must outlive the file). */
syz_status h5_only_attach(h5_only *only, hid_t access);
/** Whether the file `name` may be opened, and its real path; a relative name counts from the folder of only->path.
 * false: noted in only->refused. */
bool h5_only_allows(h5_only *only, const char *name, char real[PATH_MAX]);
