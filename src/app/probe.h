/* SPDX-License-Identifier: BSD-3-Clause */
/** The probes: what `probe` asks of frozen features. Each is a file probe_<name>.c that defines the row
 * syz_probe_<name>. */
#pragma once

#include "app.h"

/** X(name, about): the name is the value of probe.task, `about` what the help says of it. The first is the default. */
#define SYZ_PROBES(X) X(dense, "segmentation and regression of patches")

typedef struct syz_probe {
  const syz_key *keys; /**< its own, ended by a path NULL; a key that several probes take stands in probe.c */
  /** Read its keys, check everything, open data and model: nothing is written yet. *job is what the others get, also
   * after a failure. Collective; agreed. */
  syz_status (*open)(syz_app *app, void **job);
  /** Fit, judge, write the results into the run folder, which is taken now. Once. Collective; agreed. */
  syz_status (*write)(void *job);
  /** *job may be NULL, or what a failed open has left. */
  void (*close)(void **job);
} syz_probe;

#define SYZ_PROBE_DECLARE(name, about) extern const syz_probe syz_probe_##name;
SYZ_PROBES(SYZ_PROBE_DECLARE)
#undef SYZ_PROBE_DECLARE
