/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: joint posteriors of all numbers from one source, and how well they are calibrated. */
#pragma once

#include "method.h"

enum { POSTERIOR_LEVELS = 19 /* 5, 10 .. 95 % */ };
extern const double posterior_level[POSTERIOR_LEVELS];

/** What is known of the posteriors of the test objects, the same on every rank. */
struct posterior {
  int source;
  syz_flow_kind kind;
  int labels, column[SYZ_FLOW_LABELS]; /**< of the sample */
  int64_t n;                           /**< test objects that have all these labels */
  int64_t *place;                      /**< [n] among the test objects */
  int64_t train, validation, draws;
  int members;
  int64_t outside;           /**< training objects with a label outside of its transform's domain: left out */
  int64_t test_outside;      /**< such test objects: their density is 0, and the NLL is that of the others */
  double *truth;             /**< [n, labels] */
  syz_flow_summary *summary; /**< [n, labels] */
  double *log_q, *standard;  /**< [n] of the truth: in label units, standardised */
  double *pit, *crps;        /**< [n, labels] */
  double *credibility;       /**< [n] of the highest-density region that ends at the truth */
  double *tarp;              /**< [n] share of draws nearer to the reference than the truth */
  syz_flow_calibration calibration;
  syz_nll_figures nll;
  syz_estimate nll_error;
  syz_pit_figures pit_figures[SYZ_FLOW_LABELS];
  double covered[SYZ_FLOW_LABELS][POSTERIOR_LEVELS]; /**< by central intervals */
  double density_covered[POSTERIOR_LEVELS], tarp_curve[POSTERIOR_LEVELS], tarp_error[POSTERIOR_LEVELS];
  double mean_crps[SYZ_FLOW_LABELS];
  syz_warnings warnings;
};

/** Figures of what was found for each object. Rank-local, the same on every rank. */
syz_status posterior_judge(const job *p, posterior *q);
void posterior_print(const job *p, const posterior *q);
void posterior_free(posterior *q);
