/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether a step's loss and gradient norm are what recent steps let expect, and whether two computations of a step are
 * the same. See verify.c. */
#pragma once

#include "syzygy/train.h"

/** What the last values of a quantity let expect of the next one. */
typedef struct series {
  double level, trend, deviation; /**< mean, change a step, mean absolute error of what was expected */
  int64_t n;                      /**< values learned */
} series;

/** bound: of verify_is_jump. */
bool series_is_jump(const series *s, double bound, double x);
void series_learn(series *s, double bound, double x);

/** The recent past of a run; bound: in mean absolute errors, 0: every value is a jump. */
typedef struct verify_past {
  double bound;
  series loss, norm; /**< norm: its logarithm */
} verify_past;
/** Not finite, or not what the past lets expect. Early in a run, and after going back, only what is not finite. */
bool verify_is_jump(const verify_past *p, const series *s, double x);
double verify_log(double norm);
/** A step was accepted. */
void verify_learn(verify_past *p, double loss, double norm);

/** All by which two computations of a step are compared, bit by bit. */
typedef struct signature {
  syz_step_result result;
  double norm, group[SYZ_CLIP_GROUPS], scalar[SYZ_SCALARS_MAX];
  uint64_t own, whole; /**< of gradients: digests_of_gradient */
} signature;

enum { VERIFY_TEXT = 320 };
/** Whether two computations gave the same on all ranks; otherwise `text` names the ranks and hosts where they first
 * went apart. Collective; the same on every rank. */
bool verify_is_same(syz_comm *world, const signature *a, const signature *b, char text[VERIFY_TEXT]);
