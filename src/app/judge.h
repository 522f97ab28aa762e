/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What an image tower knows while it trains: nearest neighbours by its frozen class token, on held-out objects.
 *
 * Redshift and other numbers by R^2, morphology and other classes by accuracy. The same figures for 64 principal components of the pixels and
 * for the net before training stand beside them in every line of validation.jsonl, so that a chart shows what training brought.
 */
#pragma once

#include "app.h"
#include "syzygy/data.h"
#include "syzygy/model.h"
#include "syzygy/train.h"

/** The keys validate.* (for the table of keys.c). */
extern const syz_key syz_validate_keys[];

/**
 * Whether the labels asked for are in the data and their figures find room: SYZ_ERR_INPUT otherwise, before anything is written and in a dry run too.
 * `test` may be NULL. Not collective; the same on every rank.
 */
syz_status syz_judge_check(const syz_input *in, const syz_shardset *train, const syz_shardset *test);
/**
 * Make a judge of `teacher` (PURPOSE_DINO, with its weights before training; borrowed, looked at again at each call) from the keys validate.*.
 *
 * Reads labels and pixels and computes the baselines, so it takes seconds: call it behind syz_app_open_run_folder. `test` NULL, or a data set
 * without any of the labels asked for: out->judge is NULL, and why is said. Collective over app->world; agreed. SYZ_ERR_INPUT as syz_judge_check, and for
 * labels that were asked for but are known nowhere or are no classes; SYZ_ERR_MEMORY.
 */
syz_status syz_judge_create(syz_app *app, const syz_compute *compute, syz_model *teacher, syz_shardset *train, syz_shardset *test, syz_judge *out);
/** NULL context is fine. */
void syz_judge_destroy(syz_judge *judge);
/** What a rank needs for it while training goes on: layers and activations of the teacher on validate.batch images. 0 without a judge. */
size_t syz_judge_bytes(const syz_input *in, const syz_model *teacher);
