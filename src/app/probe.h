/* SPDX-License-Identifier: BSD-3-Clause */
/** The probes: tests of what frozen features predict. Each is a file probe_<name>.c that defines the row
 * syz_probe_<name>. */
#pragma once

#include "task.h"

/** X(name, task, about): a row syz_probe_<name>, the value of probe.task, and what the help says of it. The first is
 * the default. */
#define SYZ_PROBES(X)                                                                                                  \
  X(dense, "dense", "segmentation and regression of patches")                                                          \
  X(knn, "knn", "labels from embeddings by nearest neighbours")                                                        \
  X(linear, "linear", "labels from embeddings by linear heads")                                                        \
  X(mlp, "mlp", "labels from embeddings by ensembles of small networks")                                               \
  X(flow, "flow", "joint posteriors of labels from embeddings, and their calibration")                                 \
  X(few_label, "few-label", "how well a class is found from 10 to 2,000 labels")                                       \
  X(classify, "classify", "the ten questions of Galaxy Zoo from embeddings, by its votes")                             \
  X(outliers, "outliers", "strange objects by density and by neighbours, with a person's ratings")                     \
  X(table, "table", "labels from embeddings by several methods, side by side")

#define SYZ_PROBE_DECLARE(name, task, about) extern const syz_task syz_probe_##name;
SYZ_PROBES(SYZ_PROBE_DECLARE)
#undef SYZ_PROBE_DECLARE
