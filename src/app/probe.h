/* SPDX-License-Identifier: BSD-3-Clause */
/** The probes: tests of what frozen features predict. Each is a file probe_<name>.c that defines the row
 * syz_probe_<name>. */
#pragma once

#include "app.h"

/** X(name, about): the name is the value of probe.task, `about` its help text. The first is the default. */
#define SYZ_PROBES(X) X(dense, "segmentation and regression of patches")

typedef struct syz_probe {
  const syz_key *keys; /**< its own keys, ended by a path NULL; keys that several probes use are in probe.c */
  /** Read its keys, check everything, open data and model; write nothing. *job is passed to the other functions, also
   * after a failure. Collective; agreed. */
  syz_status (*open)(syz_app *app, void **job);
  /** Lock the run folder, fit, evaluate and write the results there. Called once. Collective; agreed. */
  syz_status (*write)(void *job);
  /** *job may be NULL, or incomplete after a failed open. */
  void (*close)(void **job);
} syz_probe;

#define SYZ_PROBE_DECLARE(name, about) extern const syz_probe syz_probe_##name;
SYZ_PROBES(SYZ_PROBE_DECLARE)
#undef SYZ_PROBE_DECLARE
