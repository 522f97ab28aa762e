/* SPDX-License-Identifier: BSD-3-Clause */
/** Loaded before the program (LD_PRELOAD): prints the hints with which files are opened through MPI-IO. For test_io.py. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

int MPI_File_open(MPI_Comm comm, const char *path, int mode, MPI_Info info, MPI_File *file)
{
  static const char *const key[] = {"striping_factor", "striping_unit", "cb_nodes"};
  fprintf(stderr, "io_spy:");
  for (int i = 0; i < 3; i++) {
    char value[64] = "";
    int is_there = 0;
    MPI_Info_get(info, key[i], (int)sizeof value - 1, value, &is_there);
    fprintf(stderr, " %s=%s", key[i], is_there ? value : "?");
  }
  const char *name = strrchr(path, '/');
  fprintf(stderr, " %s\n", name ? name + 1 : path);
  return PMPI_File_open(comm, path, mode, info, file);
}
