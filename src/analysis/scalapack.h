/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room analysis: eigenproblems over all ranks. */
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
