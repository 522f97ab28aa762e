/* SPDX-License-Identifier: BSD-3-Clause */
/** `probe`: how much frozen features predict. The list of probes is in probe.h. */
#include "probe.h"

#define CHOICE(name, task, about) "|" task
#define HELP(name, task, about) task ": " about ". "

const syz_key syz_probe_keys[] = {
    {"probe.task", SYZ_KEY_CHOICE, "dense", "", 0, 0, &SYZ_PROBES(CHOICE)[1], SYZ_USED_BY(probe),
     SYZ_PROBES(HELP) "May also follow the command: syzygy probe dense."},
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

syz_status syz_command_probe(syz_app *app)
{
#define ROW(name, task, about) {task, &syz_probe_##name},
  static const syz_task_row rows[] = {SYZ_PROBES(ROW)};
#undef ROW
  return syz_app_run_task(app, "probe.task", rows);
}
