/* SPDX-License-Identifier: BSD-3-Clause */
/** A frozen image backbone and the images that go through it, for probe and maps. */
#pragma once

#include "syzygy/features.h"

/** The image backbone of a model file; heads are not used. */
typedef struct syz_frozen {
  const syz_frozen_options *options;
  syz_model_config config;
  syz_compute *compute;
  syz_model *model;
  char digest[17]; /**< digest of configuration and weights at opening */
} syz_frozen;
/** Collective; agreed. */
syz_status syz_frozen_open(const syz_run *run, const syz_frozen_options *options, syz_frozen *out);
void syz_frozen_close(syz_frozen *f);
/** Replace the trained weights by initial ones of the same architecture. */
void syz_frozen_forget(syz_frozen *f);

/** Objects of a split; `purpose` ends the error message when no data are named. Collective; agreed. */
syz_status syz_frozen_data(const syz_run *run, const syz_frozen_options *options, const char *purpose, syz_split split,
                           bool verifies, syz_shardset **out);
