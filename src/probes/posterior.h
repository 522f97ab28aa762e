/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: joint posteriors of all numbers from one source, and how well they are calibrated. */
#pragma once

#include "method.h"

enum { POSTERIOR_LEVELS = 19 /* 5, 10 .. 95 % */, POSTERIOR_CONFORMAL = 3 /* 50, 68, 90 % */ };
extern const double posterior_level[POSTERIOR_LEVELS], posterior_conformal_level[POSTERIOR_CONFORMAL];

/** Conformal intervals of a label at each level. */
typedef struct posterior_conformal {
  double factor[POSTERIOR_CONFORMAL];  /**< half their width, in halves of the 16 to 84 % interval; infinite: too few
                                          validation objects */
  double covered[POSTERIOR_CONFORMAL]; /**< share of the test objects inside */
  double error[POSTERIOR_CONFORMAL];   /**< of it: both sides are counted */
} posterior_conformal;

/** What is known of the posteriors of the test objects, the same on every rank. */
struct posterior {
  int source;
  syz_flow_kind kind;
  int labels, column[SYZ_FLOW_LABELS]; /**< of the sample */
  int64_t n;                           /**< test objects that have all these labels */
  int64_t *place;                      /**< [n] among the test objects */
  int64_t train, validation, draws;
  int members;
  int64_t outside;            /**< training objects with a label outside of its transform's domain: left out */
  int64_t test_outside;       /**< such test objects: their density is 0, and the NLL is that of the others */
  double *truth;              /**< [n, labels] */
  syz_flow_summary *summary;  /**< [n, labels] */
  double *mode;               /**< [n, labels] of the joint density: the most probable of some draws */
  double *log_q, *standard;   /**< [n] of the truth: in label units, standardised */
  double *nll_expected;       /**< [n] -log q that is to be expected, in label units */
  double *each;               /**< [n, labels] log of each label's own density at the truth, standardised */
  double *pit, *crps;         /**< [n, labels] */
  double *crps_expected;      /**< [n, labels] of calibrated posteriors; so cde_expected */
  double *cde, *cde_expected; /**< [n, labels] */
  int64_t cells;              /**< of the grid of each label */
  double *edge, *grid;        /**< [labels, cells + 1], and [labels, cells] their middles */
  float *pdf;                 /**< [n, labels, cells] mean density of each cell, in label units; NULL: not kept */
  double *inside;             /**< [n, labels] probability inside of the grid */
  int64_t samples;            /**< draws of each object that are kept */
  float *sample;              /**< [n, samples, labels]; NULL: none */
  double *interval;           /**< [n, labels, conformal levels, 2] */
  double *credibility;        /**< [n] of the highest-density region that ends at the truth */
  double *tarp;               /**< [n] share of draws nearer to the reference than the truth */
  syz_flow_calibration calibration;
  syz_nll_figures nll;
  syz_estimate nll_error;
  syz_self_check nll_check; /**< in label units */
  syz_pit_figures pit_figures[SYZ_FLOW_LABELS];
  double covered[SYZ_FLOW_LABELS][POSTERIOR_LEVELS]; /**< by central intervals */
  double density_covered[POSTERIOR_LEVELS], tarp_curve[POSTERIOR_LEVELS], tarp_error[POSTERIOR_LEVELS];
  syz_self_check mean_crps[SYZ_FLOW_LABELS], mean_cde[SYZ_FLOW_LABELS];
  double nll_each[SYZ_FLOW_LABELS]; /**< standardised, of the objects inside of the domains */
  double least_inside[SYZ_FLOW_LABELS];
  posterior_conformal conformal[SYZ_FLOW_LABELS];
  syz_warnings warnings;
};

/** Figures of what was found for each object. Rank-local, the same on every rank. */
syz_status posterior_judge(const job *p, posterior *q);
void posterior_print(const job *p, const posterior *q);
void posterior_free(posterior *q);
