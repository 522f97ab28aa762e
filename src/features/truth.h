/* SPDX-License-Identifier: BSD-3-Clause */
/** The truth in each patch of an image, on which dense probes are trained and evaluated. */
#pragma once

#include "patches.h"
#include "syzygy/features.h"

enum { SYZ_TRUTH_TARGETS = 3 };
/** The colour that a segment has in pictures. */
extern const unsigned char syz_segment_colour[SYZ_SEGMENTS][3];
/** Names of the regression targets per patch, and how they are formed. */
extern const char *const syz_truth_name[SYZ_TRUTH_TARGETS], *const syz_truth_help[SYZ_TRUTH_TARGETS];

/** Truth of this rank's objects of a syz_patches. */
typedef struct syz_truth {
  int64_t n, cells, size; /**< objects, patches per object, pixels per side */
  int targets;            /**< 1 without half-light radii, otherwise SYZ_TRUTH_TARGETS */
  uint8_t *pixel;         /**< [n, size, size] syz_segment of the centre crop */
  int8_t *label;          /**< [n, cells] the class of most of a patch's pixels, ties to the lower */
  float *target;          /**< [n, cells, targets]; NaN unknown */
} syz_truth;
/**
 * Collective; agreed. has_radius: whether label/half_light_radius exists (in both splits). SYZ_ERR_DATA when no pixel
 * of any object has a segment: the data set has no segment maps.
 */
syz_status syz_truth_read(syz_comm *c, syz_shardset *data, const syz_patches *patches, int64_t size, bool has_radius,
                          syz_truth *out);
void syz_truth_free(syz_truth *t);
