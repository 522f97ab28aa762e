/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: a flow on its objects, for flow.c, flow_judge.c and conformal.c. */
#pragma once

#include "posterior.h"

typedef struct flow_work {
  job *job;
  posterior *q;
  int64_t width, n; /* rows: training, validation, test, in this order */
  int64_t *row;     /* [n] of the sample */
  float *x;         /* [n, width] */
  double *y;        /* [n, labels] */
  int64_t *share;   /* [ranks] test objects of each */
  syz_flow *flow;
  syz_flow_label label[SYZ_FLOW_LABELS];
} flow_work;

/** Most objects whose draws are in memory at once. */
int64_t flow_block(const posterior *q);
/** The first `draws` draws of rows first .. first + n - 1, n <= flow_block: y [n, draws, labels] and log_q [n, draws]
 * (NULL: not wanted) of them. */
syz_status flow_draws(const flow_work *w, int64_t first, int64_t n, int64_t draws, double *y, double *log_q);
/** All that draws and densities say of each test object. Collective; agreed. */
syz_status flow_judge(flow_work *w);
/** Intervals of the test objects from how far validation objects are from their medians. Collective; agreed. */
syz_status flow_conformal(flow_work *w);
