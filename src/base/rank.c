/* SPDX-License-Identifier: BSD-3-Clause */
/** This process's rank and the number of ranks, set by comm: for messages, and to decide which rank prints. */
#include "rank.h"

static int its_rank, its_size = 1;

void syz_log_rank(int rank, int size)
{
  its_rank = rank;
  its_size = size;
}

int syz_log_get_rank(void) { return its_rank; }

int rank_count(void) { return its_size; }
