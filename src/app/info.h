/* SPDX-License-Identifier: BSD-3-Clause */
/** Parts of `info`: what it prints of our HDF5 files and of files of others. */
#pragma once

#include "app.h"

enum { INFO_NAME = 192 };

typedef struct info_names {
  char (*name)[INFO_NAME];
  int n;
  size_t room;
} info_names;
/** Append a name; `list` is an info_names. A visitor of syz_h5_visit. */
syz_status info_keep_name(void *list, const char *name);
/** "1.5 MB". Returns text. */
const char *info_bytes_text(double bytes, char text[32]);

typedef struct info_wishes {
  syz_comm *world;
  bool is_first, verifies, prints_input; /**< is_first: this is rank 0, which prints */
} info_wishes;
/** An HDF5 file of ours of the given format. Collective; agreed. */
syz_status info_own_file(const info_wishes *w, const char *path, const char *format);
/** HDF5 of others; on rank 0. */
syz_status info_foreign_file(const char *path);
/** FITS; on rank 0. */
syz_status info_fits_file(bool verifies, const char *path);
