/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: the grid of all ranks that ScaLAPACK works on, and matrices in square blocks on it. Neither
 * it nor BLACS ships a C header, so what is used is declared by its users. */
#pragma once

#include "syzygy/comm.h"

enum { SCALAPACK_BLOCK = 64 /**< rows and columns of a block, at most */ };

typedef struct scalapack_grid {
  int handle, context, rows, columns, row, column; /**< begin with handle and context -1: none */
} scalapack_grid;
/** As square as the number of ranks allows. Collective. */
void scalapack_grid_open(syz_comm *c, scalapack_grid *g);
void scalapack_grid_close(scalapack_grid *g);
/** Side of the blocks of a matrix whose smaller side is n: so that every rank has some. */
int scalapack_block(const scalapack_grid *g, int n);

/** One matrix [m, n] on it; this rank's part is column-major. */
typedef struct scalapack_matrix {
  int block, own_rows, own_columns, ld, descriptor[9];
  double *x; /**< [own_columns, ld] zeros */
} scalapack_matrix;
/** Not collective. SYZ_ERR_MEMORY. */
syz_status scalapack_matrix_make(const scalapack_grid *g, int m, int n, int block, const char *what,
                                 scalapack_matrix *a);
/** Global number of local row, or column, i. */
int64_t scalapack_row(const scalapack_grid *g, const scalapack_matrix *a, int i);
int64_t scalapack_column(const scalapack_grid *g, const scalapack_matrix *a, int j);
