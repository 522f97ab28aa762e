/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe`: how much frozen features predict. The list of probes is in probe.h. */
#include "probe.h"

#include <string.h>

#define CHOICE(name, task, about) "|" task
#define HELP(name, task, about) task ": " about ". "

const syz_key syz_probe_keys[] = {
    {"probe.task", SYZ_KEY_CHOICE, "dense", "", 0, 0, &SYZ_PROBES(CHOICE)[1], SYZ_USED_BY(probe),
     SYZ_PROBES(HELP) "May also follow the command: syzygy probe dense."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

/* The probe that the input names. */
static const syz_probe *chosen(const syz_input *in)
{
  static const struct {
    const char *name;
    const syz_probe *probe;
  } row[] = {
#define ROW(name, task, about) {task, &syz_probe_##name},
      SYZ_PROBES(ROW)
#undef ROW
  };
  size_t k = 0;
  while (strcmp(syz_input_text(in, "probe.task"), row[k].name) != 0) k++; /* one of the choices */
  return row[k].probe;
}

syz_status syz_command_probe(syz_app *app)
{
  syz_status st = SYZ_OK;
  const syz_probe *probe = chosen(app->input);
  void *job = NULL;
  SYZ_TRY(probe->open(app, &job));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY(probe->write(job));
cleanup:
  probe->close(&job);
  return st;
}
