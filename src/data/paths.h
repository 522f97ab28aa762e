/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: the list of files that the user's paths name. */
#pragma once

#include "syzygy/data.h"

typedef struct path_list {
  char **path;
  int n;
  size_t room;
} path_list;

/**
 * Files as given; for folders all *.h5 and *.hdf5 below, sorted by path. SYZ_ERR_DATA when a path does not exist, a
 * folder holds no such file, or a file is named twice. Rank-local.
 */
syz_status syz_paths_collect(int n, const char *const *given, path_list *out);
/** Send rank 0's list to all ranks. Collective. */
syz_status syz_paths_broadcast(syz_comm *c, path_list *list);
void syz_paths_free(path_list *list);
