/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All of ScaLAPACK. Neither it nor BLACS ships a C header, so what is used is declared here.
 *
 * The matrix is distributed in square blocks over a grid of all ranks that is as square as their number allows. Every
 * rank has the whole matrix anyway (it is a sum over ranks), so distributing is a local copy, and the few wanted
 * vectors are gathered by a sum of arrays with zeros in other ranks' places: exact, since each number has one owner.
 */
#include "scalapack.h"

#include <limits.h>
#include <mpi.h>
#include <string.h>

int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int rows, int columns);
void Cblacs_gridinfo(int context, int *rows, int *columns, int *row, int *column);
void Cblacs_gridexit(int context);
int numroc_(const int *n, const int *nb, const int *process, const int *source, const int *processes);
void descinit_(int *descriptor, const int *m, const int *n, const int *mb, const int *nb, const int *row,
               const int *column, const int *context, const int *ld, int *info);
void pdsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *ia, const int *ja,
              const int *desca, double *w, double *z, const int *iz, const int *jz, const int *descz, double *work,
              const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t);

enum { BLOCK_MOST = 64 };

typedef struct grid {
  int handle, context, rows, columns, row, column; /* context -1: none */
  int n, block, own_rows, own_columns, ld, descriptor[9];
  double *a, *z, *w, *work;
  int *iwork;
} grid;

/* Global number of local row or column i of process p of `processes`. */
static int64_t global_number(const grid *g, int i, int p, int processes)
{
  return ((int64_t)(i / g->block) * processes + p) * g->block + i % g->block;
}

static void make_grid(syz_comm *c, int n, grid *g)
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
  g->n = n;
  g->block = (n + g->columns - 1) / g->columns; /* so that every rank has some */
  if (g->block > BLOCK_MOST) g->block = BLOCK_MOST;
}

/* Blocks of A and room for the vectors. */
static syz_status deal_out(grid *g, const double *a)
{
  syz_status st = SYZ_OK;
  const int zero = 0;
  int info = 0;
  g->own_rows = numroc_(&g->n, &g->block, &g->row, &zero, &g->rows);
  g->own_columns = numroc_(&g->n, &g->block, &g->column, &zero, &g->columns);
  g->ld = g->own_rows > 1 ? g->own_rows : 1;
  descinit_(g->descriptor, &g->n, &g->n, &g->block, &g->block, &zero, &zero, &g->context, &g->ld, &info);
  SYZ_REQUIRE(info == 0, SYZ_ERR_INTERNAL, "descinit: info %d", info);
  SYZ_ALLOC(g->a, "distributed matrix", (int64_t)g->ld * g->own_columns + 1);
  SYZ_ALLOC(g->z, "distributed eigenvectors", (int64_t)g->ld * g->own_columns + 1);
  SYZ_ALLOC(g->w, "eigenvalues", g->n);
  for (int j = 0; j < g->own_columns; j++)
    for (int i = 0; i < g->own_rows; i++)
      g->a[i + (int64_t)j * g->ld] =
          a[global_number(g, i, g->row, g->rows) * g->n + global_number(g, j, g->column, g->columns)];
cleanup:
  return st;
}

/*
 * Quirk: pdsyevd asks for too little workspace where the block is large beside n / ranks, and then returns wrong
 * vectors with info 0 (ScaLAPACK 2.2.1: pdormtr is given less than it needs). What it lacks is added here, and the
 * caller checks residuals.
 */
static syz_status make_workspace(grid *g, int *lwork, int *liwork)
{
  syz_status st = SYZ_OK;
  const int one = 1, query = -1;
  int info = 0, isize = 0;
  double size = 0;
  pdsyevd_("V", "U", &g->n, g->a, &one, &one, g->descriptor, g->w, g->z, &one, &one, g->descriptor, &size, &query,
           &isize, &query, &info, 1, 1);
  SYZ_REQUIRE(info == 0, SYZ_ERR_NUMERIC, "pdsyevd refuses a matrix of %d rows (info %d)", g->n, info);
  const int64_t half = (g->block - 1) / 2, part = g->own_rows + g->own_columns;
  const int64_t more = 3 * (int64_t)g->n + g->block * ((half > part ? half : part) + g->block);
  SYZ_REQUIRE((int64_t)size + more <= INT_MAX, SYZ_ERR_MEMORY,
              "an eigenproblem of %d rows is too large for these ranks", g->n);
  *lwork = (int)((int64_t)size + more);
  *liwork = isize > 0 ? isize : 1;
  SYZ_ALLOC(g->work, "eigenproblem", *lwork);
  SYZ_ALLOC(g->iwork, "eigenproblem", *liwork);
cleanup:
  return st;
}

static void free_grid(grid *g)
{
  syz_free(&g->a);
  syz_free(&g->z);
  syz_free(&g->w);
  syz_free(&g->work);
  syz_free(&g->iwork);
  if (g->context >= 0) Cblacs_gridexit(g->context);
  if (g->handle >= 0) Cfree_blacs_system_handle(g->handle);
}

syz_status scalapack_eigen(syz_comm *c, int64_t n, const double *a, int64_t wanted, double *value, double *vector)
{
  syz_status st = SYZ_OK;
  grid g = {.handle = -1, .context = -1};
  const int one = 1;
  int lwork = 0, liwork = 0, info = 0;
  SYZ_REQUIRE(n <= INT_MAX, SYZ_ERR_INTERNAL, "an eigenproblem of %lld rows", (long long)n);
  make_grid(c, (int)n, &g);
  SYZ_TRY_ALL(c, deal_out(&g, a));
  SYZ_TRY_ALL(c, make_workspace(&g, &lwork, &liwork));
  pdsyevd_("V", "U", &g.n, g.a, &one, &one, g.descriptor, g.w, g.z, &one, &one, g.descriptor, g.work, &lwork, g.iwork,
           &liwork, &info, 1, 1);
  SYZ_TRY_ALL(c, info == 0 ? SYZ_OK
                           : syz_error_set(SYZ_ERR_NUMERIC, __FILE__, __LINE__,
                                           "pdsyevd did not converge on a matrix of %d rows (info %d)", g.n, info));
  memset(vector, 0, (size_t)(wanted * n) * sizeof *vector);
  for (int j = 0; j < g.own_columns; j++) {
    const int64_t place = n - 1 - global_number(&g, j, g.column, g.columns); /* ascending there, descending here */
    for (int i = 0; place < wanted && i < g.own_rows; i++)
      vector[place * n + global_number(&g, i, g.row, g.rows)] = g.z[i + (int64_t)j * g.ld];
  }
  syz_allreduce_f64(c, vector, (size_t)(wanted * n), SYZ_SUM);
  for (int64_t i = 0; i < wanted; i++) value[i] = g.w[n - 1 - i];
  syz_bcast(c, value, (size_t)wanted * sizeof *value, 0); /* each rank has computed them; make them bitwise equal */
cleanup:
  free_grid(&g);
  return st;
}
