/* SPDX-License-Identifier: BSD-3-Clause */
/* Grids and distributed matrices for ScaLAPACK, through BLACS, which takes the communicator of MPI. */
#include "scalapack_grid.h"

#include <mpi.h>

int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int columns);
void Cblacs_gridinfo(int context, int *rows, int *columns, int *row, int *column);
void Cblacs_gridexit(int context);
int numroc_(const int *n, const int *nb, const int *process, const int *source, const int *processes);
void descinit_(int *descriptor, const int *m, const int *n, const int *mb, const int *nb, const int *row,
               const int *column, const int *context, const int *ld, int *info);

void scalapack_grid_open(syz_comm *c, scalapack_grid *g)
{
  const int size = syz_comm_size(c);
  g->rows = 1;
  for (int r = 1; r * r <= size; r++)
    if (size % r == 0) g->rows = r;
  g->columns = size / g->rows;
  g->handle = Csys2blacs_handle(*(MPI_Comm *)syz_comm_raw(c));
  g->context = g->handle; /* gridinit overwrites its argument */
  Cblacs_gridinit(&g->context, "Row", g->rows, g->columns);
  Cblacs_gridinfo(g->context, &g->rows, &g->columns, &g->row, &g->column);
}

void scalapack_grid_close(scalapack_grid *g)
{
  if (g->context >= 0) Cblacs_gridexit(g->context);
  if (g->handle >= 0) Cfree_blacs_system_handle(g->handle);
}

int scalapack_block(const scalapack_grid *g, int n)
{
  const int block = (n + g->columns - 1) / g->columns;
  return block > SCALAPACK_BLOCK ? SCALAPACK_BLOCK : block;
}

syz_status scalapack_matrix_make(const scalapack_grid *g, int m, int n, int block, const char *what,
                                 scalapack_matrix *a)
{
  syz_status st = SYZ_OK;
  const int zero = 0;
  int info = 0;
  a->block = block;
  a->own_rows = numroc_(&m, &block, &g->row, &zero, &g->rows);
  a->own_columns = numroc_(&n, &block, &g->column, &zero, &g->columns);
  a->ld = a->own_rows > 1 ? a->own_rows : 1;
  descinit_(a->descriptor, &m, &n, &block, &block, &zero, &zero, &g->context, &a->ld, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "descinit: info %d", info);
  SYZ_ALLOC(a->x, what, (int64_t)a->ld * a->own_columns + 1);
cleanup:
  return st;
}

/* Global number of local row or column i of process p of `processes`. */
static int64_t global_number(int block, int i, int p, int processes)
{
  return ((int64_t)(i / block) * processes + p) * block + i % block;
}

int64_t scalapack_row(const scalapack_grid *g, const scalapack_matrix *a, int i)
{
  return global_number(a->block, i, g->row, g->rows);
}

int64_t scalapack_column(const scalapack_grid *g, const scalapack_matrix *a, int j)
{
  return global_number(a->block, j, g->column, g->columns);
}
