/* SPDX-License-Identifier: BSD-3-Clause */
/** The probes: tests of what frozen features predict. Each is a file probe_<name>.c that defines the row
 * syz_probe_<name>. */
#pragma once

#include "app.h"

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

typedef struct syz_probe {
  const syz_key *keys; /**< its own keys, ended by a path NULL; keys that several probes use are in probe_table.c */
  /** Read its keys, check everything, open data and model; write nothing. *job is passed to the other functions, also
   * after a failure. Collective; agreed. */
  syz_status (*open)(syz_app *app, void **job);
  /** Lock the run folder, fit, evaluate and write the results there. Called once. Collective; agreed. */
  syz_status (*write)(void *job);
  /** *job may be NULL, or incomplete after a failed open. */
  void (*close)(void **job);
} syz_probe;

#define SYZ_PROBE_DECLARE(name, task, about) extern const syz_probe syz_probe_##name;
SYZ_PROBES(SYZ_PROBE_DECLARE)
#undef SYZ_PROBE_DECLARE
