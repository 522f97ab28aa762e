/* SPDX-License-Identifier: BSD-3-Clause */
/** Loaded before the program (LD_PRELOAD): prints the hints with which files are opened through MPI-IO, and how many
 * collective transfers each rank has made. For test_io.py. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static int writes, reads;

int MPI_File_write_at_all(MPI_File file, MPI_Offset at, const void *data, int n, MPI_Datatype type, MPI_Status *status)
{
  writes++;
  return PMPI_File_write_at_all(file, at, data, n, type, status);
}

int MPI_File_read_at_all(MPI_File file, MPI_Offset at, void *data, int n, MPI_Datatype type, MPI_Status *status)
{
  reads++;
  return PMPI_File_read_at_all(file, at, data, n, type, status);
}

int MPI_Finalize(void)
{
  if (writes || reads) fprintf(stderr, "io_spy: %d collective writes, %d collective reads\n", writes, reads);
  return PMPI_Finalize();
}

int MPI_File_open(MPI_Comm comm, const char *path, int mode, MPI_Info info, MPI_File *file)
{
  static const char *const key[] = {"striping_factor", "striping_unit", "cb_nodes", "cb_buffer_size"};
  fprintf(stderr, "io_spy:");
  for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
    char value[64] = "";
    int is_there = 0;
    MPI_Info_get(info, key[i], (int)sizeof value - 1, value, &is_there);
    fprintf(stderr, " %s=%s", key[i], is_there ? value : "?");
  }
  const char *name = strrchr(path, '/');
  fprintf(stderr, " %s\n", name ? name + 1 : path);
  return PMPI_File_open(comm, path, mode, info, file);
}
