/* SPDX-License-Identifier: BSD-3-Clause */
/** Tasks of a command: `probe` and `analyse` do one of several things, which the key <command>.task chooses. */
#pragma once

#include "app.h"

typedef struct syz_task {
  const syz_key *keys; /**< its own keys, ended by a path NULL; keys that several tasks use are in <command>.c */
  /** Read its keys, check everything, open data and model; write nothing. *job is passed to the other functions, also
   * after a failure. Collective; agreed. */
  syz_status (*open)(syz_app *app, void **job);
  /** Lock the run folder, do the work and write the results there. Called once. Collective; agreed. */
  syz_status (*write)(void *job);
  /** *job may be NULL, or incomplete after a failed open. */
  void (*close)(void **job);
} syz_task;

typedef struct syz_task_row {
  const char *name; /**< the value of the key */
  const syz_task *task;
} syz_task_row;

/** Run the task that the key `key` names. Every choice of the key has its row. Collective; agreed. */
syz_status syz_app_run_task(syz_app *app, const char *key, const syz_task_row *rows);
