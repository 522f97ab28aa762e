/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: eigenproblems and singular values over all ranks. */
#pragma once

#include "syzygy/comm.h"

/**
 * The `wanted` largest eigenvalues, descending, and their vectors [wanted, n] of a symmetric matrix A [n, n] that every
 * rank holds whole.
 *
 * Collective; agreed; the same on all ranks. Each rank works on its blocks of a copy spread over a grid of all ranks
 * (pdsyevd). SYZ_ERR_NUMERIC, SYZ_ERR_MEMORY.
 */
syz_status scalapack_eigen(syz_comm *c, int64_t n, const double *a, int64_t wanted, double *value, double *vector);
/**
 * A [m, n] = U S V^T, whole on every rank: value [k] descending, left [k, m] and right [k, n] the vectors, k = min(m,
 * n) (pdgesvd). Collective; agreed; the same on all ranks. Residuals are checked. SYZ_ERR_NUMERIC, SYZ_ERR_MEMORY.
 */
syz_status scalapack_singular(syz_comm *c, int64_t m, int64_t n, const double *a, double *value, double *left,
                              double *right);
