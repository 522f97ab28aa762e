/* SPDX-License-Identifier: BSD-3-Clause */
/** Files of one JSON object per line. See metrics.c. Everything here is rank-local (rank 0). */
#pragma once

#include "syzygy/base.h"

typedef struct metrics {
  int fd; /**< -1: closed */
  char path[4096];
} metrics;

/** A line under construction. */
typedef struct metrics_line {
  char text[4096];
  size_t n;
} metrics_line;

/** Open for adding; lines whose "step" is >= `end` (an earlier run continued past its last checkpoint) are removed
 * first, as is everything from the first incomplete line on. */
syz_status metrics_open(const char *folder, const char *name, int64_t end, metrics *out);
void metrics_close(metrics *m);
void metrics_begin(metrics_line *l, int64_t step);
/** Numbers are written so that reading them gives the same bits; numbers that are not finite become null. */
void metrics_add(metrics_line *l, const char *name, double value);
syz_status metrics_write(metrics *m, metrics_line *l);
/** Flush everything written to disk. */
syz_status metrics_sync(metrics *m);
