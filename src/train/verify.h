/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether a step's loss and gradient norm are as expected from recent steps, and whether two computations of a step
 * are the same. See verify.c. */
#pragma once

#include "syzygy/train.h"

/** The expectation of a quantity's next value from its last ones. */
typedef struct series {
  double level, trend, deviation; /**< mean, change per step, mean absolute error of the expectation */
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
/** Not finite, or far from the expectation. Early in a run, and after a return to a checkpoint, only the former. */
bool verify_is_jump(const verify_past *p, const series *s, double x);
double verify_log(double norm);
/** A step was accepted. */
void verify_learn(verify_past *p, double loss, double norm);

/** The values by which two computations of a step are compared, bit by bit. */
typedef struct signature {
  syz_step_result result;
  double norm, group[SYZ_CLIP_GROUPS], scalar[SYZ_SCALARS_MAX];
  uint64_t own, whole; /**< of gradients: digests_of_gradient */
} signature;

enum { VERIFY_TEXT = 320 };
/** Whether two computations gave the same on all ranks; otherwise `text` names the ranks and hosts where they first
 * differ. Collective; the same on every rank. */
bool verify_is_same(syz_comm *world, const signature *a, const signature *b, char text[VERIFY_TEXT]);
