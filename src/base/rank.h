/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room base: this process among the ranks. */
#pragma once

#include "syzygy/base.h"

/** Number of ranks in the run, as passed to syz_log_rank; 1 before that call. */
int rank_count(void);
