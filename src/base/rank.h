/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room base: this process among the ranks. */
#pragma once

#include "syzygy/base.h"

/** Ranks of the run, as syz_log_rank was told; 1 before. */
int rank_count(void);
