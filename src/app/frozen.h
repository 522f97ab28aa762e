/* SPDX-License-Identifier: BSD-3-Clause */
/** A frozen image backbone and the images that go through it: what analyse and probe begin with. */
#pragma once

#include "app.h"
#include "syzygy/data.h"
#include "syzygy/model.h"

/** The image backbone of model.file (any model file that has one; heads are left alone). */
typedef struct syz_frozen {
  syz_model_config config;
  syz_compute *compute;
  syz_model *model;
  char digest[17]; /**< of the configuration and the weights that it was opened with */
} syz_frozen;
/** Collective; agreed. is_untrained: initial weights instead, of the architecture of model.file or, without one, of the model: section. */
syz_status syz_frozen_open(syz_app *app, bool is_untrained, syz_frozen *out);
void syz_frozen_close(syz_frozen *f);
/** Initial weights of its architecture from `seed` in place of the trained ones. */
void syz_frozen_forget(syz_frozen *f, uint64_t seed);

/** Objects of data.path with images, checksums compared as data.verify says; `task` goes into messages. Collective; agreed. */
syz_status syz_frozen_data(syz_app *app, const char *task, syz_split split, bool verifies, syz_shardset **out);
/** data.path as text, one path a line (syz_free); NULL without memory. */
char *syz_frozen_data_path(const syz_input *in);
