/* SPDX-License-Identifier: BSD-3-Clause */
/** Runs the task that the input names. */
#include "task.h"

#include <string.h>

syz_status syz_app_run_task(syz_app *app, const char *key, const syz_task_row *rows)
{
  syz_status st = SYZ_OK;
  void *job = NULL;
  while (strcmp(syz_input_text(app->input, key), rows->name) != 0) rows++; /* one of the choices */
  const syz_task *task = rows->task;
  SYZ_TRY(task->open(app, &job));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(task->write(job));
cleanup:
  task->close(&job);
  return st;
}
