/* SPDX-License-Identifier: BSD-3-Clause */
/** The tasks of `analyse`. Each is a file analyse_<name>.c that defines the row syz_analysis_<name>. */
#pragma once

#include "task.h"
#include "syzygy/spaces.h"

/** X(name, text, about): text is the value of analyse.task, `about` what the help says of it. The first is the default.
 */
#define SYZ_ANALYSES(X)                                                                                                \
  X(patches, "patches", "principal components of patch features, as colour maps")                                      \
  X(cca, "cca", "canonical correlations of two embeddings, held out and by chance, and what they know")                \
  X(mutual_information, "mutual-information", "of two embeddings, by Gaussians and by InfoNCE over N")                 \
  X(health, "health", "effective rank, alignment, uniformity, modality gap, duplicates")                               \
  X(pca, "pca", "principal components of embeddings")

#define SYZ_ANALYSIS_DECLARE(name, text, about) extern const syz_task syz_analysis_##name;
SYZ_ANALYSES(SYZ_ANALYSIS_DECLARE)
#undef SYZ_ANALYSIS_DECLARE

/** What the tasks on embedding files share: the job is a syz_analysis_spaces. */
typedef struct syz_analysis_spaces {
  syz_spaces_options options;
  syz_spaces *spaces;
} syz_analysis_spaces;
/** Reads the keys of all of them, which have their defaults where a task does not use them. */
syz_status syz_app_open_spaces(syz_app *app, void **job);
void syz_app_close_spaces(void **job);
